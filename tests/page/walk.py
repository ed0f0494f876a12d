"""Every view of the page, with something of everything in it, for whoever walks through all of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import expect

from tests.conftest import minutes_ago
from tests.page.person import Person, Site

LANGUAGES = ("en", "he")

EVENTS = (
    ("created", None, "queued", "user:7", None, None, {}),
    ("claimed", "queued", "running", "worker:1", None, 1, {}),
    ("requeued", "running", "queued", "worker:1", "runtime cap of 300 s", None, {"processed": 40}),
    ("claimed", "queued", "running", "worker:2", None, 2, {}),
    ("recovered", "running", "queued", "sweep", "worker 2 died", None, {"processed": 70}),
    ("claimed", "queued", "running", "worker:3", None, 3, {}),
)


@dataclass
class Full:
    """A business with something of everything, and who looks at it."""

    business_id: int
    owner: str
    operator: str
    failed_job: int
    done_job: int
    paused_job: int
    waiting_job: int


def full(site: Site, text: str = "Corner Cafe") -> Full:
    """`text` stands wherever something from outside does."""
    business_id = site.make.business(text)
    ids = site.make.receipts(business_id, 60)
    sql = site.sql
    sql("UPDATE receipts SET vendor = :t, source = :t WHERE business_id = :b AND amount >= 40", t=text, b=business_id)
    sql(
        """INSERT INTO attachments (receipt_id, business_id, object_key, content_type, size)
           VALUES (:r, :b, 'receipts/' || :r || '.pdf', 'application/pdf', 8)""",
        r=ids[-1],
        b=business_id,
    )
    where = {"host": text, "port": 993, "folder": text, "timezone": text, "currency": text}
    for number, status in enumerate(("connected", "needs_reconnect")):
        (row,) = sql(
            """INSERT INTO connections (business_id, provider, account, settings, secret, status, last_error)
               VALUES (:b, 'imap', :t, CAST(:s AS jsonb), 'x', :status, :e) RETURNING id""",
            b=business_id,
            t=f"{number} {text}"[:320],
            s=json.dumps(where),
            status=status,
            e=None if status == "connected" else text,
        )
    _mails(sql, business_id, row["id"], ids[-1], text)
    failed = _job(site, business_id, text, status="failed", done=80)
    done = site.make.job(business_id, "completed", job_type="export_receipts", total=60, processed=60, succeeded=60)
    tokens = site.make.token(business_id), site.make.token(None, "operator")
    return Full(business_id, *tokens, failed, done, _paused(site, business_id, text), _waiting(site, business_id, text))


def _paused(site: Site, business_id: int, text: str) -> int:
    """By somebody, after what it deleted from the store was refused."""
    stats = json.dumps({"attachments_deleted": 3, "attachments_failed": 1, "attachments_error": text})
    job_id = site.make.job(business_id, "paused", total=60, processed=20, succeeded=20, stats=stats)
    site.sql(
        """INSERT INTO job_events (job_id, event, from_status, to_status, actor, reason, attempt)
           VALUES (:j, 'paused', 'running', 'paused', :who, :t, 1)""",
        j=job_id,
        who=f"user:{text}",
        t=text,
    )
    return job_id


def _waiting(site: Site, business_id: int, text: str) -> int:
    return site.make.job(
        business_id,
        "queued",
        job_type="restore_receipts",
        total=None,
        waiting_for=text,
        last_error=text,
        wait_until=minutes_ago(-600),
    )


def _mails(sql: Any, business_id: int, connection_id: int, receipt_id: int, text: str) -> None:
    states = {"receipt": "receipt", "not_receipt": "promotion", "duplicate": "same_receipt", "unreadable": "too_large"}
    for number, (state, reason) in enumerate([*states.items(), ("not_receipt", text[:200])]):
        sql(
            """INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at, size,
                                          state, reason, rule, receipt_id, decided_at)
               VALUES (:c, :b, 1, :n, sha256('x'), now(), 9, :state, :reason, :rule, :receipt, now())""",
            c=connection_id,
            b=business_id,
            n=number,
            state=state,
            reason=reason,
            rule=reason if reason == text[:200] else "text",
            receipt=receipt_id if state == "receipt" else None,
        )


def _job(site: Site, business_id: int, text: str, *, status: str, done: int) -> int:
    """A delete job that has been on its way for a while."""
    job_id = site.make.job(
        business_id,
        status,
        total=100,
        processed=done,
        succeeded=done - 1,
        failed_count=1,
        attempt=3,
        last_error=f"Server restarted / job heartbeat lost: {text}",
        started_at=minutes_ago(30),
        created_at=minutes_ago(31),
    )
    end = ("failed", "running", status, f"user:{text}", text, None, {"processed": done})
    for number, (event, before, after, actor, reason, worker, detail) in enumerate([*EVENTS, end]):
        site.sql(
            """INSERT INTO job_events
                   (job_id, at, event, from_status, to_status, actor, reason, attempt, worker_id, detail)
               VALUES (:j, :at, :event, :before, :after, :actor, :reason, :attempt, :worker, CAST(:detail AS jsonb))""",
            j=job_id,
            at=minutes_ago(31 - 4 * number),
            event=event,
            before=before,
            after=after,
            actor=actor,
            reason=reason,
            attempt=(number + 1) // 2,
            worker=worker,
            detail=json.dumps(detail),
        )
    return job_id


class Walk:
    """Goes through all views; `say` knows the page's sentences in the language of the walk."""

    def __init__(self, site: Site, come: Callable[..., Person], language: str, things: Full, **context: Any) -> None:
        self.come = lambda token=None: come(f"{site.address}", None, locale=f"{language}-IL", **context)
        self.site, self.things, self.language = site, things, language
        self.sentences: dict[str, Any] = {}

    def say(self, key: str) -> str:
        return str(self.sentences[key])

    def __iter__(self) -> Iterator[tuple[str, Person]]:
        """The name of each view, and who looks at it, when it has come to rest."""
        dana = self.come()
        dana.page.goto("/")
        read = "tag => import(`/assets/${tag}.js`).then(found => found.default)"
        self.sentences = dana.page.evaluate(read, self.language)
        expect(dana.page.get_by_label(self.say("sign_in.token"))).to_be_visible()
        yield "sign_in", dana
        self._sign_in(dana, self.things.owner)
        yield from self._views(dana, OWNERS)
        yield from self._dialogs(dana)
        boss = self.come()
        self._sign_in(boss, self.things.operator)
        boss.may_say = "status of 503"
        yield from self._views(boss, OPERATORS)

    def _sign_in(self, one: Person, token: str) -> None:
        one.sign_in(token, self.say("sign_in.token"), self.say("sign_in.go"))

    def _views(self, one: Person, views: dict[str, str]) -> Iterator[tuple[str, Person]]:
        for name, address in views.items():
            one.go(address.format(**vars(self.things)))
            self.rest(one)
            yield name, one

    def rest(self, one: Person) -> None:
        expect(one.page.get_by_role("heading", level=1)).to_be_visible()
        expect(one.page.locator(".loading")).to_have_count(0)
        one.rest()

    def _dialogs(self, one: Person) -> Iterator[tuple[str, Person]]:
        page = one.page
        one.go("receipts")
        self.rest(one)
        one.button(self.say("receipts.delete_all")).click()
        yield "delete_sure", one
        page.get_by_role("dialog").get_by_role("button", name=self.say("delete.next"), exact=True).click()
        yield "delete_type", one
        page.keyboard.press("Escape")
        one.button(self.say("receipts.export")).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        yield "export", one
        page.keyboard.press("Escape")
        one.go("mailbox")
        self.rest(one)
        one.button(self.say("mailbox.connect")).click()
        page.get_by_role("dialog").locator("summary").click()
        yield "connect", one
        page.keyboard.press("Escape")
        page.get_by_text(self.say("sign_out.menu")).click()
        yield "account", one


OWNERS = {
    "receipts": "receipts",
    "receipts_of_no_day": "receipts?from=2001-01-01&to=2001-01-01",
    "mailbox": "mailbox",
    "jobs": "jobs",
    "no_jobs": "jobs?status=cancelled",
    "job_failed": "jobs/{failed_job}",
    "job_done": "jobs/{done_job}",
    "job_paused": "jobs/{paused_job}",
    "job_waiting": "jobs/{waiting_job}",
    "start": "start",
    "start_export": "start/export_receipts",
    "start_restore": "start/restore_receipts",
}
OPERATORS = {"all_jobs": "jobs", "job_of_operator": "jobs/{failed_job}", "workers": "workers"}
