"""What one run of a sync holds: its connection's row, the mailbox that is open, and the process that parses."""

from datetime import datetime
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy import text

from actors.mail.connection import MailConnection, note_refused
from actors.mail.errors import CertificateError, FolderMissingError, LoginRefusedError, MailError, ThrottledError
from actors.mail.line import Line
from actors.mail.mailbox import Mailbox
from actors.mail.parser import Parser
from actors.mail.verdict import Context
from actors.mail.wire import BadServerError
from actors.outside.addresses import ForbiddenAddressError, UnknownHostError
from actors.outside.vault import NotConfiguredError, SealedError
from actors.receipts.attachments import for_members
from actors.runtime.base.errors import StorageError
from actors.runtime.jobs.run import Run
from actors.runtime.jobs.verdicts import Permanent, Snooze, Transient, Verdict

log = structlog.get_logger("longhaul.sync")

LOG_IN_SECONDS = 30

KNOWN = text("""
    SELECT count(*) FROM (SELECT FROM mail_messages WHERE business_id = :business_id LIMIT :most) AS known
""")

# Every member of the business can read a job's sentences, but not its connections: they name neither host nor folder.
WITHOUT_NAMES: dict[type[Exception], str] = {
    UnknownHostError: "The mail server's host was not found",
    ForbiddenAddressError: "The mail server's host is not on the public internet",
}
PERMANENT: dict[type[Exception], str] = {
    FolderMissingError: "folder_missing",
    CertificateError: "bad_certificate",
    BadServerError: "forbidden_host",
    ForbiddenAddressError: "forbidden_host",
    SealedError: "not_configured",
    NotConfiguredError: "not_configured",
}


def classify(error: Exception) -> Verdict | None:
    """A server that is short of time is waited for; one that cannot be reached is tried again."""
    sentence = _for_members(error)
    code = next((code for kind, code in PERMANENT.items() if isinstance(error, kind)), None)
    if code is not None:
        log.warning("run.failed", error=str(error), code=code)
        return Permanent(sentence, code)
    if sentence != str(error):
        log.warning("run.held_up", error=str(error))
    if isinstance(error, ThrottledError):
        return Snooze(error.seconds, sentence)
    return Transient(sentence) if isinstance(error, MailError | UnknownHostError | StorageError) else None


def _for_members(error: Exception) -> str:
    if isinstance(error, MailError):
        return error.without_detail
    if isinstance(error, StorageError):
        return for_members(str(error))
    return WITHOUT_NAMES.get(type(error), str(error))


class Sync:
    """As a context: what it has opened is closed with the run."""

    def __init__(self, run: Run[Any]) -> None:
        self._run = run
        self._line: Line | None = None
        self._mailbox: Mailbox | None = None
        self.parser = Parser()
        self.connection = self._find()

    def _find(self) -> MailConnection:
        connection_id = self._run.params.connection_id
        found = MailConnection.find(self._run.begin(), self._run.business_id, connection_id)
        self._run.commit()
        if found is None:
            raise self._failed("The connection of this job was deleted", "connection_deleted")
        if found.status == "needs_reconnect":
            raise self._failed(f"Connect the mailbox anew: {found.last_error}", "needs_reconnect")
        return found

    def _failed(self, sentence: str, code: str) -> Permanent:
        log.warning("run.failed", error=sentence, code=code)
        return Permanent(sentence, code)

    @property
    def mailbox(self) -> Mailbox:
        """Open; logs in at the first time."""
        if self._mailbox is None:
            line = self._line = Line(LOG_IN_SECONDS)
            try:
                self._mailbox = self._run.call(self.connection.open, self._run.settings, line, seconds=LOG_IN_SECONDS)
            except LoginRefusedError as error:
                scope = (self._run.begin(), self._run.business_id, self.connection.id)
                note_refused(*scope, who=f"job:{self._run.job_id}", why=str(error))
                self._run.commit()
                raise self._failed(f"Connect the mailbox anew: {error}", "needs_reconnect") from None
        return self._mailbox

    def check_room(self) -> None:
        """A mail server can invent mails without end, and each is a row that others pay for too."""
        most = self._run.settings.MAX_MAILS
        known = self._run.begin().execute(KNOWN, {"business_id": self._run.business_id, "most": most}).scalar_one()
        self._run.commit()
        if known >= most:
            raise self._failed(
                f"This business has {most} mails in its list, and may not have more (MAX_MAILS); delete a connection "
                "that is no longer needed, whose mails then leave the list in time",
                "too_many_mails",
            )

    def context(self, received_at: datetime) -> Context:
        settings = self.connection.settings
        return Context(received_at, settings.currency, settings.timezone, settings.dates)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.parser.end()
        if self._line is not None:
            self._line.cut()  # a call that nobody waits for any more ends too, be it the log-in
        if self._mailbox is not None:
            self._mailbox.close()
