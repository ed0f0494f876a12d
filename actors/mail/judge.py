"""Is this mail a receipt, and of what? Markup first, then the words; a wrong amount is worse than none."""

import re
from collections.abc import Sequence
from datetime import UTC, date
from zoneinfo import ZoneInfo

from actors.mail import words
from actors.mail.forwarded import First, first_mail
from actors.mail.markup import UnclearError, read_markup
from actors.mail.money import plain_line
from actors.mail.parts import File, Mail
from actors.mail.printed_day import is_possible, printed_day
from actors.mail.printed_number import printed_number
from actors.mail.totals import find_total
from actors.mail.verdict import Context, Found, Judged, no_receipt

FIRST_LINES = 25
MAX_LINES = 5_000
PDF = "application/pdf"
_GENERIC = re.compile(
    r"(?i)\b(no[- ]?reply|do[- ]?not[- ]?reply|receipts?|invoices?|invoicing|billing|payments?|orders?|support|team|"
    r"customer service|accounts?|notifications?|info|office|via \S+)\b"
)


def judge(mail: Mail, context: Context) -> Judged:
    if words.REPLY.search(mail.subject):
        return no_receipt("conversation", "subject")
    subject = words.FORWARD.sub("", mail.subject)
    for reason, pattern in words.NONE_BY_SUBJECT:
        if pattern.search(subject):
            return no_receipt(reason, "subject")
    lines = _lines(mail)
    try:
        marked = read_markup(mail.page.items)
    except UnclearError:
        return no_receipt("several_totals", "markup")
    if not marked and not words.SUBJECT.search(subject) and not words.SENDER.search(mail.address):
        return no_receipt("no_evidence", "subject")
    for reason, pattern in words.NONE_BY_TEXT:
        if reason == "upcoming" and words.DOCUMENT.search(subject):
            continue
        if any(pattern.search(line) for line in lines[:FIRST_LINES]):
            return no_receipt(reason, "text")
    return _read(mail, subject, lines, marked, context)


def _read(mail: Mail, subject: str, lines: Sequence[str], marked: Found | None, context: Context) -> Judged:
    is_credit = bool(words.CREDIT.search(subject))
    total = find_total(lines, context, is_credit=is_credit)
    if total is None and mail.page.lines and mail.text:  # perhaps the plain text says it
        total = find_total(_plain_lines(mail.text.splitlines()), context, is_credit=is_credit)
    if marked is None and total is None:
        has_pdf = any(file.content_type == PDF for file in mail.files)
        return no_receipt("total_in_pdf" if has_pdf else "no_total", "text")
    money, rule = (marked.money, "markup") if marked else (total.money if total else None, "text")
    if money is None:
        return no_receipt("unclear_total", "text")
    if marked and total and total.rank > 2 and total.money is not None and abs(total.money.amount) != abs(money.amount):
        return no_receipt("totals_differ", "markup")
    if money.amount == 0 or (money.amount < 0 and not is_credit):
        return no_receipt("no_payment", rule)
    first = first_mail(lines) if words.FORWARD.search(mail.subject) else None
    lines = first.rest if first else lines
    mail_day = _mail_day(mail, context)
    if first and (sent := printed_day([first.sent], context, mail_day)):
        mail_day = sent
    marked_day = marked.day if marked and marked.day and is_possible(marked.day, mail_day) else None
    day = marked_day or printed_day(lines, context, mail_day)
    vendor = (marked.vendor if marked else None) or _vendor(mail, first)
    number = printed_number(map(plain_line, [subject, *lines]))
    return Judged(True, "receipt", rule, Found(money, day or mail_day, vendor, day, number), _files(mail))


def _lines(mail: Mail) -> list[str]:
    return _plain_lines(mail.page.lines or mail.text.splitlines())


def _plain_lines(lines: Sequence[str]) -> list[str]:
    """Without what is quoted from an earlier mail."""
    return [line for line in map(plain_line, lines[:MAX_LINES]) if line and not line.startswith(">")]


def _mail_day(mail: Mail, context: Context) -> date:
    """In the connection's time zone."""
    moment = mail.sent_at or context.received_at
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(ZoneInfo(context.timezone)).date()


def _vendor(mail: Mail, first: First | None) -> str:
    """As the sender is shown; of a forward, who sent it first; else the name of the domain."""
    name, address = (first.name, first.address) if first else (mail.sender, mail.address)
    shown = " ".join(_GENERIC.sub(" ", name).split()).strip(" -|,.:'\"")
    if shown and "@" not in shown:
        return shown[:200]
    labels = address.rpartition("@")[2].strip(">").split(".")
    named = labels[-2] if len(labels) > 1 else labels[0]
    if named in ("co", "com", "org", "ac", "net", "gov") and len(labels) > 2:
        named = labels[-3]
    return named.capitalize()[:200] or "unknown"


def _files(mail: Mail) -> list[File]:
    """The PDFs; else the images that are not part of how the mail looks."""
    pdfs = [file for file in mail.files if file.content_type == PDF]
    return pdfs or [file for file in mail.files if not file.inline]
