"""What a store's error means: a sentence that names the variable to check, and what to try next."""

from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, SSLError

from actors.runtime.base.config import Settings
from actors.runtime.base.errors import StorageError, StorageUnreachableError

KEYS = "see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

REDIRECT = "answers with a redirect; see S3_ENDPOINT_URL (https instead of http?) and AWS_REGION"

# The store's error code → what is wrong, and what to check.
SENTENCES = {
    "404": "does not exist; see S3_BUCKET",
    "NoSuchBucket": "does not exist; see S3_BUCKET",
    "InvalidBucketName": "can't have that name; see S3_BUCKET",
    "403": f"refuses our credentials (403); {KEYS}",
    "AccessDenied": f"refuses our credentials (AccessDenied); {KEYS}, and their rights",
    "InvalidAccessKeyId": f"refuses our credentials (InvalidAccessKeyId); {KEYS}",
    "SignatureDoesNotMatch": f"refuses our credentials (SignatureDoesNotMatch); {KEYS}",
    "ExpiredToken": "says that the session's token has expired; see AWS_SESSION_TOKEN",
    "TokenRefreshRequired": "says that the session's token has expired; see AWS_SESSION_TOKEN",
    "InvalidToken": "does not know the session's token; see AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "finds the clock of this machine wrong (RequestTimeTooSkewed); set the clock",
    "RequestExpired": "finds the clock of this machine wrong (RequestExpired); set the clock",
    "AuthorizationHeaderMalformed": "belongs to another region; see AWS_REGION",
    "IllegalLocationConstraintException": "belongs to another region; see AWS_REGION",
    "PermanentRedirect": "belongs to another region or address; see AWS_REGION and S3_ENDPOINT_URL",
    "InvalidRegion": "belongs to another region; see AWS_REGION",
}

FAULTS = (ClientError, BotoCoreError, RecursionError)
# Refusals of us or of the bucket, which no other call would change.
FINAL = {"403", "404", "AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
         "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "PermanentRedirect", "SlowDown",
         "AuthorizationHeaderMalformed", "AllAccessDisabled", "AccountProblem"}  # fmt: skip


def explain(error: Exception, settings: Settings) -> StorageError:
    """The error in our words: a StorageUnreachableError if the store may respond later."""
    where = f"bucket {settings.S3_BUCKET!r} at {_shown(settings.S3_ENDPOINT_URL)}"
    if isinstance(error, RecursionError):
        return StorageError(
            f"{where} answers with a redirect; see S3_ENDPOINT_URL (https instead of http?) and AWS_REGION"
        )
    if isinstance(error, ParamValidationError) and "bucket name" in str(error):
        return StorageError(f"{where} can't have that name; see S3_BUCKET")
    if isinstance(error, ParamValidationError):
        return StorageError(f"{where} can't be asked for this: {str(error).splitlines()[-1][:200]}")
    if isinstance(error, ValueError):
        return StorageError(f"{where} has an address that can't be used; see S3_ENDPOINT_URL and AWS_REGION")
    if isinstance(error, SSLError):
        return StorageUnreachableError(f"{where} can't be trusted or does not support TLS; see S3_ENDPOINT_URL")
    if not isinstance(error, ClientError):
        return StorageUnreachableError(f"{where} cannot be reached ({type(error).__name__}); see S3_ENDPOINT_URL")
    code = code_of(error)
    status = status_of(error)
    if code in SENTENCES:
        return StorageError(f"{where} {SENTENCES[code]}")
    if 300 <= status < 400:
        return StorageError(
            f"{where} answers with a redirect ({status}); see S3_ENDPOINT_URL (https instead of http?) and AWS_REGION"
        )
    if status >= 500 or code == "SlowDown":
        return StorageUnreachableError(f"{where} answered {code}")
    return StorageError(f"{where} answered {code}")


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_of_the_call(error: BaseException) -> bool:
    """Did the store refuse this request, so that a smaller one may work? Not us, not the bucket, not temporarily."""
    if not isinstance(error, ClientError):
        return type(error).__name__ == "ParamValidationError"
    status = status_of(error)
    return code_of(error) not in FINAL and (400 <= status < 500 or status == 501)


def _shown(url: str | None) -> str:
    """The address without user and password."""
    if url is None:
        return "AWS"
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
