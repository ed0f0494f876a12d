"""All errors, in one tree."""


class LonghaulError(Exception):
    """The root of all our errors; each has a sentence for users."""


class ConfigError(LonghaulError):
    """A setting in the environment is missing or invalid; names the variable."""


class StorageError(LonghaulError):
    """The bucket cannot be used as configured."""


class StorageUnreachableError(StorageError):
    """The bucket does not respond; it may later."""


class MessageError(LonghaulError):
    """A message cannot be sent, or another sender's row is not a valid message."""


class KindError(LonghaulError):
    """A module in actors/ is not a valid job kind."""


class ClaimLost(BaseException):
    """This claim no longer holds its job: it was taken away. Nothing more may be committed.

    Not an Exception, so that no `except Exception` in a kind can swallow it.
    """
