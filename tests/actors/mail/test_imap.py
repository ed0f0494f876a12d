"""Reading a mailbox over IMAP: a real server, and one that refuses, throttles and breaks off."""

import ssl
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from actors.mail import imap
from actors.mail.errors import (
    FolderMissingError,
    LoginRefusedError,
    ThrottledError,
    TooLargeError,
    UnreachableError,
    of_certificate,
    quoted,
    wait_seconds,
)
from actors.mail.imap import ImapMailbox, _listed
from actors.mail.mailbox import Window
from actors.mail.wire import BadServerError, Server
from actors.outside.addresses import ForbiddenAddressError

JUNE = datetime(2025, 6, 15, 12, tzinfo=UTC)


def mail(number: int, text: str = "hello") -> bytes:
    return f"Message-ID: <{number}@test.example>\r\nSubject: {number}\r\n\r\n{text}\r\n".encode()


def server_of(mails) -> Server:
    return Server("127.0.0.1", mails.port, "none", private_allowed=True)


@pytest.fixture
def mailbox(mails):
    mails.fill([(mail(n), JUNE.replace(month=n)) for n in range(1, 8)])
    opened = ImapMailbox(server_of(mails), mails.user, mails.password)
    yield opened
    opened.close()


def test_a_window_is_listed_page_by_page_with_size_and_moment(mailbox) -> None:
    last = mailbox.position().last_uid
    first_page, after = mailbox.page(Window(0, last), 4)
    second_page, end = mailbox.page(Window(after, last), 4)
    assert [one.uid for one in [*first_page, *second_page]] == list(range(last - 6, last + 1))
    assert end == last
    assert first_page[0].size == len(mail(1))
    assert first_page[0].received_at == JUNE.replace(month=1)
    assert len({one.message_hash for one in [*first_page, *second_page]}) == 7


def test_mails_with_endless_headers_make_no_page_too_large(mails, monkeypatch) -> None:
    monkeypatch.setattr(imap, "ANSWER_COSTS", 200_000)
    mails.fill([(b"Subject: " + b"x" * 300_000 + b"\r\n" + mail(n), JUNE.replace(month=n)) for n in range(1, 4)])
    with closing(ImapMailbox(server_of(mails), mails.user, mails.password)) as mailbox:
        page, _ = mailbox.page(Window(0, mailbox.position().last_uid), 10)
    assert [one.received_at.month for one in page] == [1, 2, 3]
    assert all(one.size > 300_000 for one in page)


def test_a_mail_without_an_id_is_known_again_by_its_headers_whatever_bytes_they_have() -> None:
    head = b"From: \xe9 <a@x>\r\nFrom: \xe8 <b@x>\r\n\r\n"
    answer = {b"INTERNALDATE": JUNE, b"RFC822.SIZE": 7, b"BODY[HEADER.FIELDS (FROM)]<0>": head}
    assert _listed(1, answer) == _listed(1, answer)


def test_a_window_of_days_includes_its_first_and_its_last(mailbox) -> None:
    window = Window(0, mailbox.position().last_uid, date(2025, 3, 15), date(2025, 5, 15))
    page, _ = mailbox.page(window, 100)
    assert [one.received_at.month for one in page] == [3, 4, 5]
    for_ever = replace(window, to_date=date.max)
    assert [one.received_at.month for one in mailbox.page(for_ever, 100)[0]] == [3, 4, 5, 6, 7]


def test_a_window_above_the_last_mail_is_empty(mailbox) -> None:
    last = mailbox.position().last_uid
    assert mailbox.page(Window(last, last + 10), 5) == ([], last + 10)


def test_what_is_fetched_stays_unread_and_what_is_gone_is_left_out(mailbox, mails) -> None:
    last = mailbox.position().last_uid
    assert mailbox.fetch([last, last + 99], 30) == {last: mail(7)}
    client = mails.client()
    client.select("INBOX")
    assert b"Seen" not in client.uid("fetch", str(last), "(FLAGS)")[1][0]
    client.logout()


def test_a_folder_may_have_a_name_in_any_script(mails) -> None:
    client = mails.client()
    client.create('"&BecF0QXcBdUF6g-"')  # קבלות
    client.append('"&BecF0QXcBdUF6g-"', "", None, mail(1))
    client.logout()
    mailbox = ImapMailbox(server_of(mails), mails.user, mails.password, "קבלות")
    page, _ = mailbox.page(Window(0, mailbox.position().last_uid), 5)
    assert len(page) == 1
    mailbox.close()


def test_a_wrong_password_and_a_missing_folder_are_told_apart(mails) -> None:
    with pytest.raises(LoginRefusedError, match="AUTHENTICATIONFAILED"):
        ImapMailbox(server_of(mails), mails.user, "wrong")
    with pytest.raises(FolderMissingError, match="'Nope'"):
        ImapMailbox(server_of(mails), mails.user, mails.password, "Nope")


def test_a_server_that_has_no_time_at_the_log_in_does_not_refuse_the_password(scripted) -> None:
    server = scripted({"LOGIN": "NO [UNAVAILABLE] Temporary failure, try again in 90 seconds"})
    with pytest.raises(ThrottledError) as wait:
        ImapMailbox(server, "dana", "hunter2")
    assert wait.value.seconds == 90


def test_a_connection_that_breaks_at_the_log_in_does_not_refuse_the_password(scripted) -> None:
    with pytest.raises(UnreachableError):
        ImapMailbox(scripted({"LOGIN": ""}), "dana", "hunter2")


def test_a_server_that_repeats_the_password_is_quoted_without_it(scripted) -> None:
    with pytest.raises(LoginRefusedError) as refusal:
        ImapMailbox(scripted({"LOGIN": "NO dana may not log in with hunter2"}), "dana", "hunter2")
    assert "hunter2" not in str(refusal.value)


def test_what_answers_no_imap_is_not_quoted(scripted) -> None:
    with pytest.raises(UnreachableError) as refusal:
        ImapMailbox(scripted({}, greeting="SSH-2.0-OpenSSH_9.9 internal-host"), "dana", "hunter2")
    assert "SSH" not in str(refusal.value)


def test_a_literal_that_is_too_large_closes_the_connection(scripted) -> None:
    select = "* 1 EXISTS\n* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 2] ok\nOK done"
    server = scripted({"EXAMINE": select, "UID": "* 1 FETCH (UID 1 BODY[] {99999999999}\nOK done"})
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox, pytest.raises(TooLargeError):
        mailbox.fetch([1], 30)


@pytest.mark.parametrize("body", ["5", "NIL", "(1 2)"])
def test_a_mail_that_is_no_text_is_not_there(scripted, body) -> None:
    select = "* 1 EXISTS\n* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 2] ok\nOK done"
    server = scripted({"EXAMINE": select, "UID": f"* 1 FETCH (UID 1 BODY[] {body})\nOK done"})
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox:
        assert mailbox.fetch([1], 30) == {}


@pytest.mark.parametrize("answer", ["NO [SERVERBUG] oops", "BAD what?", ""])
def test_a_refused_command_is_no_refused_password(scripted, answer) -> None:
    select = "* 1 EXISTS\n* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 2] ok\nOK done"
    server = scripted({"EXAMINE": select, "UID": answer})
    refused = pytest.raises((UnreachableError, ThrottledError))
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox, refused:
        mailbox.page(Window(0, 1), 5)


def test_private_hosts_other_ports_and_plain_text_are_refused() -> None:
    with pytest.raises(ForbiddenAddressError):
        ImapMailbox(Server("127.0.0.1", 143, "tls"), "dana", "hunter2")
    with pytest.raises(BadServerError, match="port 22"):
        ImapMailbox(Server("127.0.0.1", 22, "tls"), "dana", "hunter2")
    with pytest.raises(BadServerError, match="without TLS"):
        ImapMailbox(Server("8.8.8.8", 143, "none", private_allowed=True), "dana", "hunter2")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 299962 milliseconds", 299.962),
        ("Too many commands, wait 15 s", 15),
        ("try again in 2 minutes", 120),
        ("Account exceeded command or bandwidth limits.", 60),
        ("try again in 99999999 s", 86_400),
    ],
)
def test_how_long_to_wait_is_what_the_server_says(said: str, seconds: float) -> None:
    assert wait_seconds(said) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("code", "said"), [(10, "has expired"), (62, "another name"), (18, "not signed"), (20, "not signed")]
)
def test_what_is_wrong_with_a_certificate_is_told_in_our_words(code: int, said: str) -> None:
    error = ssl.SSLCertVerificationError("whatever it says")
    error.verify_code = code
    assert said in str(of_certificate(error))


def test_words_of_a_server_are_one_short_line() -> None:
    assert quoted(b"NO\r\nevil\x1b[31m " + b"x" * 500) == "NO  evil [31m " + "x" * 186
