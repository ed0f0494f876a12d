"""Mails that are made to kill whoever parses them: each ends as unreadable, and the next is read."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from actors.mail.child import work
from actors.mail.parser import Parser, start
from actors.mail.storing import receipt
from actors.mail.verdict import Context
from service.local.processes import wait_until

CONTEXT = Context(datetime(2025, 3, 5, tzinfo=UTC))
GOOD = b"From: a@b.example\r\nSubject: Your receipt\r\nMessage-ID: <1@x>\r\n\r\nTotal: $11.70\r\n"


@pytest.fixture
def parser() -> Iterator[Parser]:
    parser = Parser()
    yield parser
    parser.close()


def nested(depth: int) -> bytes:
    return b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))


def in_html(body: bytes) -> bytes:
    return b"Subject: Your receipt\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body


BOMBS = {
    "nested_parts": nested(2000),
    "many_parts": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 5000,
    "deep_tags": in_html(b"<div>" * 100_000),
    "many_tags": in_html(b"<br>" * 1_000_000),
    "much_text": in_html(b"Total: $1 " * 1_500_000),
    "deep_json": in_html(b'<script type="application/ld+json">' + b"[" * 500_000 + b"</script>"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_itself_and_the_next_mail_is_read(parser, name) -> None:
    parsed = parser.parse(BOMBS[name], CONTEXT)
    assert parsed.unreadable or not parsed.judged.is_receipt
    after = parser.parse(GOOD, CONTEXT)
    assert after.judged is not None
    assert after.judged.is_receipt
    assert str(after.judged.found.money.amount) == "11.70"


HEAD = b"Subject: Your receipt\r\n"
HEADERS = b'Content-Disposition: inline; a="' + b";" * 3900 + b'"\r\n'


def nested(depth: int) -> bytes:
    """The heads of so many multiparts, each within the last."""
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))


COSTLY = {  # most took minutes
    "comments_without_end": in_html(b"<!--" * 50_000),
    "tags_without_end": in_html(b"<a " * 60_000),
    "declarations_without_end": in_html(b"<?" * 150_000),
    "names_of_one_property": in_html(b'<div itemscope><b itemprop="' + b"a " * 100_000 + b'" content=b></div>'),
    "ends_of_no_tag": in_html(b"<i>" * 490 + b"</x>" * 100_000),
    "quotes_in_a_header": HEAD + b'Content-Type: text/plain; a="' + b";" * 200_000 + b'"\r\n\r\nx',
    "quotes_in_each_part": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + (b"--b\r\n" + HEADERS + b"\r\nx\r\n") * 190,
    "a_codec_that_is_no_charset": HEAD + b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"9" * 400_000,
    "the_same_in_html": HEAD + b"Content-Type: text/html; charset=Punycode\r\n\r\n" + b"9" * 400_000,
    "nested_in_each_other": HEAD + nested(300) + b"\n" * 500_000,
    "nested_mails": HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"\n" * 500_000,
    "parts_without_number": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 60_000,
}

BEGINNINGS = ("", "From:a", "Sent: 1", "Total: 1", "Date: 1", "Invoice no. 1", "לתשלום: 1", "מאת: א", "$1", "1 ")
UNITS = (
    *" \t<>!.,-(0:$₪aא%/|*",
    "1,",
    "1.",
    "1 ",
    "a ",
    "a.",
    "a@",
    "<a",
    "- ",
    ", ",
    "total ",
    "2025-",
    "\u200f",
    "\xa0",
)
FORWARD = "From: {0} <{0}@b.example>\r\nSubject: Fwd: receipt {0}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"


def long_lines(unit: str) -> bytes:
    """Of a forward, each a beginning that a pattern looks for, one thing repeated, and an end that does not fit."""
    lines = (
        f"{begins}{unit * (5_000 // len(unit))}{ends}" for begins in BEGINNINGS for ends in ("", "‹!a", "<!a", "\x01")
    )
    return (FORWARD.format(unit * 200) + "\r\n".join(lines)).encode()


def long_head(unit: str) -> bytes:
    """The head of the mail within a forward, in one that is a receipt."""
    lines = (
        f"{begins}{unit * (5_000 // len(unit))}‹!a" for begins in ("From:a", "Sent:", "Date: 1", "To:", "Subject:")
    )
    return (FORWARD.format(unit * 200) + "\r\n".join(lines) + "\r\n\r\nTotal: $11.70\r\n").encode()


def before_each(tag: str, unit: str) -> bytes:
    """Blanks are what a page has most of."""
    return in_html((unit.replace("<", "&lt;") + tag).encode() * (100_000 if unit.isspace() else 30_000))


COSTLY |= {f"lines of {unit!r}": long_lines(unit) for unit in UNITS}
COSTLY |= {f"a head of {unit!r}": long_head(unit) for unit in UNITS}
COSTLY |= {f"{unit!r} before each {tag}": before_each(tag, unit) for unit in UNITS for tag in ("</x>", "</td>")}


@pytest.mark.parametrize("name", COSTLY)
def test_a_mail_costs_no_more_than_its_length_does(name) -> None:
    """A sender of many such would hold up all other mails for ten seconds each."""
    head = {"received_at": CONTEXT.received_at.isoformat()}
    ends_at = time.process_time() + 5

    def look(*_anything: object) -> None:
        assert time.process_time() < ends_at, "it takes too long"

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        answer, _ = work(head, COSTLY[name])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert answer.get("unreadable") in (None, "too_complex", "too_many_parts", "nested_too_deeply")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 1000,
        b"Subject: =?no-such-charset?B?////?=\r\nContent-Type: text/plain; charset=no-such\r\n\r\nTotal: $1.00",
        b"Content-Type: text/html; charset=utf-7\r\n\r\n\xff\xfe<<<>>&#99999999999;",
        b"Content-Transfer-Encoding: base64\r\n\r\n====not base64",
        b"Date: 99 Foo 99999 99:99:99\r\nFrom: \xff\xfe\r\n\r\n",
    ],
)
def test_what_is_malformed_is_no_receipt(parser, raw) -> None:
    parsed = parser.parse(raw, CONTEXT)
    assert parsed.judged is not None
    assert not parsed.judged.is_receipt


@pytest.mark.parametrize("word", [b"=?utf-7?Q?+2AA-?=", b"=?unicode_escape?Q?=5Cudc80?="])
def test_half_a_letter_in_a_header_is_no_obstacle_to_a_receipt(parser, word) -> None:
    raw = GOOD.replace(b"<1@x>", word).replace(b"a@b", word + b" <a@b>")
    parsed = parser.parse(raw, CONTEXT)
    judged = parsed.judged
    assert receipt(1, parsed.message_id, judged.rule, judged.found, judged.files, raw).source_id
    assert parsed.message_id == "?"


def test_a_parser_that_somebody_kills_is_replaced_and_the_mail_is_read(parser) -> None:
    parser.parse(GOOD, CONTEXT)
    os.kill(parser._child.pid, signal.SIGKILL)
    assert parser.parse(GOOD, CONTEXT).judged.is_receipt


def test_a_parser_does_not_heed_the_signals_of_its_dyno(parser) -> None:
    parser.parse(GOOD, CONTEXT)
    child = parser._child
    os.kill(child.pid, signal.SIGTERM)
    assert parser.parse(GOOD, CONTEXT).judged.is_receipt
    assert parser._child is child


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux only")
def test_where_memory_runs_out_the_parser_ends_before_its_worker(parser) -> None:
    parser.parse(GOOD, CONTEXT)
    assert Path(f"/proc/{parser._child.pid}/oom_score_adj").read_text() == "1000\n"


def test_a_mail_that_takes_too_long_is_given_up(parser, monkeypatch) -> None:
    parser.parse(GOOD, CONTEXT)
    monkeypatch.setattr("actors.mail.parser.SECONDS", 0.2)
    monkeypatch.setattr("actors.mail.parser.GRACE_SECONDS", 0.1)
    os.kill(parser._child.pid, signal.SIGSTOP)
    assert parser.parse(GOOD, CONTEXT).unreadable == "takes_too_long"
    monkeypatch.undo()
    assert parser.parse(GOOD, CONTEXT).judged.is_receipt


def test_a_parser_ends_with_the_worker_that_started_it() -> None:
    child = start()
    child.stdin.close()
    assert child.wait(30) == 0
    child.stdout.close()


def test_a_call_that_the_end_of_its_job_left_behind_starts_no_other_parser(parser) -> None:
    parser.parse(GOOD, CONTEXT)
    os.kill(parser._child.pid, signal.SIGSTOP)
    outcome = []

    def left_behind() -> None:
        try:
            parser.parse(GOOD, CONTEXT)
        except (OSError, EOFError, ValueError) as error:
            outcome.append(type(error))

    call = Thread(target=left_behind)
    call.start()
    wait_until(lambda: call.is_alive(), 30, "the call")
    parser.end()
    call.join(30)
    assert outcome
    assert parser._child is None


def test_the_parser_knows_none_of_our_secrets(parser, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://planted-secret")
    parser.parse(GOOD, CONTEXT)
    with open(f"/proc/{parser._child.pid}/environ", "rb") as environment:
        assert b"planted-secret" not in environment.read()
