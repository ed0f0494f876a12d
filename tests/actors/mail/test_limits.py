"""What a mail server may take of us: bytes, memory and time, in every phase."""

import base64
import time
import tracemalloc
from contextlib import closing
from datetime import UTC, datetime
from threading import Thread

import pytest

from actors.mail.errors import LoginRefusedError, ThrottledError, TooLargeError, UnreachableError, of_answer
from actors.mail.imap import ImapMailbox, _listed
from actors.mail.line import Line
from actors.mail.mailbox import Window
from actors.mail.wire import Server
from tests.actors.mail.hostile import Hostile, dripping, endless, hostile, literals, silent, until_uid

MB = 1024 * 1024


def at(server: Hostile) -> Server:
    return Server("127.0.0.1", server.port, "none", private_allowed=True)


@pytest.mark.parametrize(
    ("said", "most"),
    [
        (b"* X " + b"a" * 900_000 + b"\r\n", 18 * MB),
        (b"a" * MB, 18 * MB),
        (b"* X {900000}\r\n" + b"a" * 900_000 + b"\r\n", 40 * MB),
        (b"".join(b"* X%d Y\r\n" % n for n in range(1000)), 18 * MB),  # what is kept of them is many times as much
    ],
)
def test_a_server_that_never_stops_at_the_log_in_is_cut_off(said: bytes, most: int) -> None:
    with hostile(endless(said)) as server:
        with pytest.raises(TooLargeError):
            ImapMailbox(at(server), "dana", "hunter2")
        assert server.hung_up.wait(30)
        assert server.sent < most  # with what waits in the buffers of the sockets, which may be 10 MB


def test_a_server_that_drips_is_ended_by_the_deadline_of_the_log_in() -> None:
    with hostile(dripping) as server:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="in time"):
            ImapMailbox(at(server), "dana", "hunter2", line=Line(1))
        assert time.monotonic() - began < 30
        assert server.hung_up.wait(30)


def test_a_server_that_drips_is_ended_by_the_deadline_of_each_command(monkeypatch) -> None:
    monkeypatch.setattr("actors.mail.imap.LIST_SECONDS", 1)
    with hostile(until_uid(dripping)) as server:
        with closing(ImapMailbox(at(server), "dana", "hunter2")) as mailbox, pytest.raises(UnreachableError):
            mailbox.page(Window(0, 1), 5)
        with closing(ImapMailbox(at(server), "dana", "hunter2")) as mailbox, pytest.raises(UnreachableError):
            mailbox.fetch([1], 1)


@pytest.mark.parametrize("number", [5 * MB, 10])
def test_any_number_of_mails_in_one_answer_is_too_many(number: int) -> None:
    with hostile(until_uid(literals(number))) as server:
        with closing(ImapMailbox(at(server), "dana", "hunter2")) as mailbox, pytest.raises(TooLargeError):
            mailbox.fetch([1], 30)
        assert server.hung_up.wait(30)
        assert server.sent < 80 * MB


def test_what_nobody_asked_for_is_not_kept_from_command_to_command(scripted) -> None:
    select = "* 1 EXISTS\n* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 2] ok\nOK done"
    server = scripted({"EXAMINE": select, "UID": "* X unasked\n* SEARCH\nOK done"})
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox:
        for _ in range(3):
            mailbox.page(Window(0, 1), 5)
        assert len(mailbox._imap._imap.untagged_responses["X"]) == 1


@pytest.mark.parametrize("behave", [silent, dripping])
def test_whoever_cuts_the_line_ends_a_log_in_at_once(behave, monkeypatch) -> None:
    monkeypatch.setattr("actors.mail.line.SILENCE_SECONDS", 60)
    with hostile(behave) as server:
        line, outcome = Line(60), []

        def log_in() -> None:
            try:
                ImapMailbox(at(server), "dana", "hunter2", line=line)
            except UnreachableError as error:
                outcome.append(error)

        thread = Thread(target=log_in)
        thread.start()
        assert server.accepted.wait(30)
        line.cut()
        thread.join(30)
        assert outcome
        assert server.hung_up.wait(30)


def test_a_line_that_was_cut_before_it_was_connected_is_not_connected() -> None:
    with hostile(silent) as server:
        line = Line(60)
        line.cut()
        with pytest.raises(UnreachableError, match="given up"):
            ImapMailbox(at(server), "dana", "hunter2", line=line)
        assert not server.accepted.is_set()


@pytest.mark.parametrize("uid_next", ["0", "4294967297", "9" * 30, "9" * 5000], ids=len)
def test_a_folder_without_end_is_not_listed(scripted, uid_next: str) -> None:
    server = scripted({"EXAMINE": f"* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT {uid_next}] ok\nOK done"})
    with pytest.raises(UnreachableError, match=r"next mail|no IMAP"):
        ImapMailbox(server, "dana", "hunter2")


@pytest.mark.parametrize("uidvalidity", ["-5", "4294967296", "9" * 30], ids=len)
def test_numbers_that_hold_under_no_uidvalidity_of_imap_are_refused(scripted, uidvalidity: str) -> None:
    server = scripted({"EXAMINE": f"* OK [UIDVALIDITY {uidvalidity}] ok\n* OK [UIDNEXT 2] ok\nOK done"})
    with pytest.raises(UnreachableError, match=r"UIDVALIDITY|no IMAP"):
        ImapMailbox(server, "dana", "hunter2")


@pytest.mark.parametrize(("said", "size"), [("-1", 0), ("9" * 30, 2**32 - 1)])
def test_a_mail_of_no_possible_size_costs_itself(scripted, said: str, size: int) -> None:
    mail = f'RFC822.SIZE {said} INTERNALDATE "17-Jul-2025 02:44:25 +0000" BODY[HEADER.FIELDS (FROM)] "a"'
    examine = "* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 9] ok\nOK done"
    server = scripted({"EXAMINE": examine, "UID": f"* SEARCH 1\n* 1 FETCH (UID 1 {mail})\nOK done"})
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox:
        (listed,), _ = mailbox.page(Window(0, 8), 5)
    assert listed.size == size


@pytest.mark.parametrize(
    "mail",
    [
        "RFC822.SIZE 5",
        "RFC822.SIZE 5 INTERNALDATE NIL",
        "RFC822.SIZE NIL INTERNALDATE NIL",
        'RFC822.SIZE 5 INTERNALDATE "17-Jul-2025 02:44:25 +0000" BODY[HEADER.FIELDS (FROM)] (a b)',
        'RFC822.SIZE 5 INTERNALDATE "31-Dec-9999 23:44:25 -1200" BODY[HEADER.FIELDS (FROM)] "a"',
    ],
)
def test_a_mail_that_is_listed_as_no_server_should_is_an_error_of_the_server(scripted, mail: str) -> None:
    examine = "* OK [UIDVALIDITY 7] ok\n* OK [UIDNEXT 9] ok\nOK done"
    server = scripted({"EXAMINE": examine, "UID": f"* SEARCH 1\n* 1 FETCH (UID 1 {mail})\nOK done"})
    with closing(ImapMailbox(server, "dana", "hunter2")) as mailbox, pytest.raises(UnreachableError, match="no IMAP"):
        mailbox.page(Window(0, 8), 5)


PASSWORD = 'hun"ter\\2שלום'
FORMS = [
    PASSWORD,
    PASSWORD.replace("\\", "\\\\").replace('"', '\\"'),
    repr(PASSWORD),
    repr(PASSWORD.encode()),
    base64.b64encode(PASSWORD.encode()).decode(),
    PASSWORD[::-1],
    PASSWORD[:-2],
    PASSWORD.encode().hex(),
]


@pytest.mark.parametrize("status", ["NO", "BAD", "NO [LIMIT]", "NO [AUTHENTICATIONFAILED]", "NO [hunter"])
@pytest.mark.parametrize("form", FORMS)
def test_a_password_is_repeated_in_no_form_that_a_server_gives_it(scripted, form: str, status: str) -> None:
    answers = {"AUTHENTICATE": f"{status} {form}", "CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN\nOK done"}
    with pytest.raises((LoginRefusedError, ThrottledError)) as refusal:
        ImapMailbox(scripted(answers), "dana", PASSWORD)
    assert "hun" not in str(refusal.value)
    assert form not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("NO [AUTHENTICATIONFAILED] Invalid credentials", "[AUTHENTICATIONFAILED]; check the user and the password"),
        ("NO [ALERT] Application-specific password required: https://mail.example", "app passwords"),
        ("NO LOGIN failed.", "no reason that is known here"),
    ],
)
def test_a_refused_log_in_says_what_to_do(scripted, said: str, told: str) -> None:
    with pytest.raises(LoginRefusedError) as refusal:
        ImapMailbox(scripted({"LOGIN": said}), "dana", "hunter2")
    assert told in str(refusal.value)


def test_a_user_is_sent_as_one_word_whatever_is_in_it() -> None:
    with hostile(until_uid(silent)) as server:
        ImapMailbox(at(server), 'dana "the boss" \\o/', "hunter2").close()
        assert b' LOGIN "dana \\"the boss\\" \\\\o/" "hunter2"\r\n' in server.heard


@pytest.mark.parametrize("words", ["exceeded ", "[A", "wait ", "application-specific ", "retry after "])
@pytest.mark.parametrize("at_login", [True, False])
def test_a_long_refusal_is_understood_in_no_time(words: str, at_login: bool) -> None:
    began = time.thread_time()
    of_answer(words * 5000, at_login=at_login)
    assert time.thread_time() - began < 0.5


def test_what_a_refusal_means_is_found_at_its_beginning(scripted) -> None:
    said = "NO Account exceeded command or bandwidth limits. " + "x" * 500_000
    with pytest.raises(ThrottledError):
        ImapMailbox(scripted({"LOGIN": said}), "dana", "hunter2")


@pytest.mark.parametrize("line", [b"a:\n", b" \n", b"x"])
def test_headers_without_end_take_no_more_than_they_are_long(line: bytes) -> None:
    head = b"Message-ID: <1@shop>\n" + line * (2 * MB // len(line))
    answer = {b"INTERNALDATE": datetime.now(UTC), b"RFC822.SIZE": 7, b"BODY[HEADER.FIELDS (MESSAGE-ID)]": head}
    tracemalloc.start()
    listed = _listed(1, answer)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert listed.size == 7
    assert peak < 6 * MB


def test_a_server_that_sends_more_than_it_announced_is_cut_off() -> None:
    body = b"* 1 FETCH (UID 1 BODY[] {900000}\r\n" + b"a" * 900_000 + b")\r\n"
    with hostile(until_uid(endless(body))) as server:
        with closing(ImapMailbox(at(server), "dana", "hunter2")) as mailbox, pytest.raises(TooLargeError):
            mailbox.fetch([1], 30, 1_000)
        assert server.hung_up.wait(30)
        assert server.sent < 30 * MB
