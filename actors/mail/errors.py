"""What a mail server may refuse, and what its words mean for the job."""

import re
import ssl
from datetime import UTC, datetime

from actors.runtime.base.errors import LonghaulError

MAX_QUOTED = 200  # characters of a server's words
MAX_READ = 2000  # characters of them that the patterns below search, which takes up to quadratic time
DEFAULT_WAIT_SECONDS = 60
MAX_WAIT_SECONDS = 86_400

# RFC 5530: the server says that it can't now; it does not say that the password is wrong.
_NOT_NOW = re.compile(r"(?i)\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG|THROTTLED|OVERQUOTA)\]")
_THROTTLED = re.compile(
    r"(?i)throttl|too many|rate.?limit|try again|back.?off|temporar|exceeded .{0,100}(limit|bandwidth)|over.?quota|busy"
)
_AFTER = re.compile(
    r"(?i)(?:back.?off time|again in|again after|wait|retry after)\D{0,12}(\d{1,9}) ?(ms|milli|s|sec|m|h)?"
)
_UNTIL = re.compile(r"(?i)retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
_EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 10, 62, 64  # OpenSSL's X509_V_ERR_…
_CODE = re.compile(r"\[([A-Za-z]{1,40})[\] ]")
_WANTS_APP_PASSWORD = re.compile(r"(?i)app(lication)?[- ]?(specific)?[- ]password")
_APP_PASSWORD = "it wants a password that is made for one application, see its help on app passwords"  # noqa: S105
_NO_REASON = "it gives no reason that is known here; check the user and the password, perhaps it wants an app password"
# RFC 5530, and two of Gmail's.
CODES = {
    "AUTHENTICATIONFAILED": "check the user and the password; perhaps it wants an app password",
    "AUTHORIZATIONFAILED": "this user may not open this mailbox",
    "EXPIRED": "the password has expired",
    "PRIVACYREQUIRED": "it wants an encrypted connection",
    "CONTACTADMIN": "its administrator has to be asked",
    "NOPERM": "this user may not read mail over IMAP",
    "UNAVAILABLE": "it cannot check passwords at the moment",
    "INUSE": "the mailbox is in use",
    "LIMIT": "there are too many connections or log-ins",
    "OVERQUOTA": "the account has used up what it may",
    "SERVERBUG": "it has an error of its own",
    "ALERT": "sign in to the mailbox on the web, and read what the provider says there",
    "WEBALERT": "sign in to the mailbox on the web, and read what the provider says there",
}
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1, "sec": 1, "m": 60, "h": 3600, "": 1}


class MailError(LonghaulError):
    """The mailbox cannot be read. `detail`, a name or the server's words, is for those who may see the connection."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(f"{sentence}: {detail}" if detail else sentence)
        self.without_detail = sentence


class UnreachableError(MailError):
    """The server does not answer, or the connection broke; it may be better soon."""


class RefusedError(UnreachableError):
    """The server answers a command with NO or BAD; the connection goes on."""


class ThrottledError(MailError):
    """The server wants us to come back in so many seconds."""

    def __init__(self, sentence: str, seconds: float, detail: str = "") -> None:
        super().__init__(sentence, detail)
        self.seconds = seconds


class LoginRefusedError(MailError):
    """The server refuses the user or the password."""


class FolderMissingError(MailError):
    """The folder is not there, or not for this user."""


class CertificateError(MailError):
    """The server does not prove to be the one that was named: nothing is sent to it."""


class TooLargeError(MailError):
    """The server sends more than it may; the connection is closed."""


def quoted(words: object) -> str:
    """What the server said, for people: one line of printable characters, 200 at most."""
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    text = re.sub(r"^b(['\"])(.*)\1$", r"\2", text.strip())
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_QUOTED].strip()


def of_answer(words: object, *, at_login: bool = False) -> MailError:
    """What a NO or a BAD of the server means. At a log-in none of its words is repeated but the names of known codes:
    it may say the password, in whatever form, and what we say is stored and logged.
    """
    said = str(words)[:MAX_READ]
    detail = _at_login(said) if at_login else repr(quoted(said))
    is_bug = "[serverbug]" in said.casefold() and not at_login  # of one mail, perhaps: it does not pass by waiting
    if not is_bug and (_NOT_NOW.search(said) or _THROTTLED.search(said)):
        return ThrottledError("The mail server asks us to wait", wait_seconds(said), detail)
    if at_login:
        return LoginRefusedError(f"The mail server refuses the log-in: {detail}")
    return RefusedError("The mail server refuses a command", detail)


def _at_login(said: str) -> str:
    codes = sorted({code.upper() for code in _CODE.findall(said)} & CODES.keys())
    advice = [_APP_PASSWORD] if _WANTS_APP_PASSWORD.search(said) else [CODES[code] for code in codes]
    return "; ".join([f"[{code}]" for code in codes] + (advice or [_NO_REASON]))


def of_certificate(error: ssl.SSLCertVerificationError) -> CertificateError:
    """In our words: the server's would be those of anybody on the way."""
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        found = "is for another name than the host that was given"
    elif error.verify_code == _EXPIRED:
        found = "has expired"
    else:
        found = "is not signed by an authority that is trusted here (SSL_CERT_FILE may name more)"
    return CertificateError(f"The mail server's certificate {found}")


def wait_seconds(said: str) -> float:
    """How long the server wants us to wait; a minute where it does not say."""
    if until := _UNTIL.search(said):
        seconds = (datetime.fromisoformat(until[1]).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    elif after := _AFTER.search(said):
        seconds = int(after[1]) * _UNITS[(after[2] or "").lower()]
    else:
        seconds = DEFAULT_WAIT_SECONDS
    return min(max(seconds, 1.0), float(MAX_WAIT_SECONDS))
