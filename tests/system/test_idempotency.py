"""One start, sent by many who do not know whether it arrived."""

import signal
import time
from threading import Event, Thread
from typing import Any

from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import wait_until
from tests.conftest import answers

BODY = {"job_type": "delete_receipts", "confirm": "DELETE"}
CLIENTS = 20


def test_twenty_clients_and_a_web_that_is_killed_make_one_job_and_one_answer(start, make, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 100)
    port, token = free_port(), make.token(business_id)
    address = f"http://127.0.0.1:{port}"
    web = start("web", PORT=port)
    wait_until(lambda: answers(Client(address)), 30, "the web process")
    found: list[Any] = []
    goes, deadline = Event(), time.monotonic() + 60

    def send() -> None:
        goes.wait()
        client = Client(address, token)
        client.headers["Idempotency-Key"] = "the same for all"
        while time.monotonic() < deadline:
            try:
                answer = client.post("/api/jobs", BODY)
            except OSError:  # lost, with the process or with its answer
                Event().wait(0.1)
                continue
            if answer.status in (409, 429, 503) and answer.body["code"] != "job_active":
                Event().wait(0.2)  # not now
                continue
            found.append((answer.status, answer.body))
            return

    threads = [Thread(target=send) for _ in range(CLIENTS)]
    # The first transaction is held up where it has written everything: its answer can't be there before the kill.
    sql("""CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON background_jobs DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION hold()""")
    for thread in threads:
        thread.start()
    goes.set()
    holding = (
        "SELECT FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()"
    )
    wait_until(lambda: sql(holding), 30, "a start to be about to commit")
    web.signal(signal.SIGKILL)
    start("web", PORT=port)
    for thread in threads:
        thread.join(70)
    assert len(found) == CLIENTS
    assert {status for status, _ in found} == {202}
    assert all(body == found[0][1] for _, body in found)
    assert sql("SELECT count(*) AS n FROM background_jobs") == [{"n": 1}]
