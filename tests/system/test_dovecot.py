"""A mailbox of a real Dovecot, over each kind of connection: read once, and left as it was."""

import imaplib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from actors.mail.connection import MailSettings
from actors.mail.errors import CertificateError, FolderMissingError, LoginRefusedError
from actors.mail.imap import ImapMailbox
from actors.mail.wire import Server
from actors.outside.vault import Vault
from actors.runtime.jobs.testing import run_kind
from actors.sync_receipts import sync_receipts
from tests.service.conftest import changed
from tests.system.dovecot import PASSWORD, USER, Dovecot, dovecot

MAILS = 200
FOLDER, AS_SENT = "קבלות 2025", '"&BecF0QXcBdUF6g- 2025"'
MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)

pytestmark = [pytest.mark.scale]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        fill(running)
        yield running


@pytest.fixture
def trusted(server, monkeypatch) -> Dovecot:
    monkeypatch.setenv("SSL_CERT_FILE", server.authority)
    return server


def mail(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "Night Owl Taxi <rides@nightowl.example>", f"<{number}@nightowl.example>"
    message["Subject"] = "הקבלה שלך" if number % 2 else "A walk on Sunday?"
    message["Date"] = MOMENT
    message.set_content(f'סה"כ לתשלום: {number}.50 ₪\n')
    return message.as_bytes()


def fill(server: Dovecot) -> None:
    client = server.client()
    client.create(AS_SENT)
    for number in range(1, MAILS + 1):
        date = imaplib.Time2Internaldate(MOMENT + timedelta(minutes=number))
        assert client.append(AS_SENT, "", date, mail(number))[0] == "OK"
    client.logout()


def open_mailbox(server: Dovecot, tls: str, host: str = "127.0.0.1", folder: str = FOLDER) -> ImapMailbox:
    port = server.secure if tls == "tls" else server.plain
    return ImapMailbox(Server(host, port, tls, private_allowed=True), USER, PASSWORD, folder)


def unread(server: Dovecot) -> int:
    client = server.client()
    client.select(AS_SENT, readonly=True)
    found = client.search(None, "UNSEEN")[1][0].split()
    client.logout()
    return len(found)


@pytest.fixture
def connection(trusted, sql, make, settings, connecting):
    """connection("tls"): a business whose mailbox it is, and the settings to read it with."""
    here = changed(settings, **connecting)

    def new(tls: str):
        business_id = make.business()
        port = trusted.secure if tls == "tls" else trusted.plain
        where = MailSettings(host="127.0.0.1", port=port, tls=tls, folder=FOLDER)
        sql(
            """INSERT INTO connections (business_id, provider, account, settings, secret)
               VALUES (:b, 'imap', :user, CAST(:settings AS jsonb), :secret)""",
            b=business_id, user=USER, settings=where.model_dump_json(),
            secret=Vault(here).seal(business_id, {"password": PASSWORD}),
        )  # fmt: skip
        return business_id, here

    return new


@pytest.mark.parametrize("tls", ["tls", "starttls", "none"])
def test_a_folder_of_dovecot_is_read_once_and_nothing_is_marked_as_read(connection, server, engine, sql, tls) -> None:
    business_id, here = connection(tls)
    job = run_kind(sync_receipts, engine, here, business_id)
    assert (job["status"], job["total"], job["succeeded"], job["failed_count"]) == ("completed", MAILS, MAILS, 0)
    amounts = [row["amount"] for row in sql("SELECT amount::float8 AS amount FROM receipts ORDER BY amount")]
    assert amounts == [number + 0.5 for number in range(1, MAILS + 1, 2)]
    assert run_kind(sync_receipts, engine, here, business_id)["total"] == 0
    assert unread(server) == MAILS


def test_a_folder_of_dovecot_that_is_numbered_anew_is_known_again(connection, server, engine, sql) -> None:
    business_id, here = connection("starttls")
    run_kind(sync_receipts, engine, here, business_id)
    before = sql("SELECT uidvalidity FROM connections")[0]["uidvalidity"]
    client = server.client()
    assert client.delete(AS_SENT)[0] == "OK"
    client.logout()
    fill(server)
    assert run_kind(sync_receipts, engine, here, business_id)["total"] == 0
    assert sql("SELECT uidvalidity FROM connections")[0]["uidvalidity"] != before
    assert sql("SELECT count(*) AS n FROM mail_messages") == [{"n": MAILS}]
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": MAILS // 2}]


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_a_certificate_for_another_name_is_refused_with_a_clear_sentence(trusted, tls) -> None:
    with pytest.raises(CertificateError, match="is for another name than the host that was given"):
        open_mailbox(trusted, tls, host="127.0.0.2")


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_a_certificate_that_nobody_vouches_for_is_refused_with_a_clear_sentence(server, tls) -> None:
    with pytest.raises(CertificateError, match="is not signed by an authority that is trusted here"):
        open_mailbox(server, tls)


def test_dovecots_refusals_are_told_apart(trusted) -> None:
    with pytest.raises(FolderMissingError, match="'Nope'"):
        open_mailbox(trusted, "tls", folder="Nope")
    with pytest.raises(LoginRefusedError, match="AUTHENTICATIONFAILED"):
        ImapMailbox(Server("127.0.0.1", trusted.secure, "tls", private_allowed=True), USER, "wrong")
