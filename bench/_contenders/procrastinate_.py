import os
from collections.abc import Sequence

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from bench._effect import effect

TITLE = "procrastinate"
SERVER = "postgres"
NUMBER = 2_000
COMMANDS = [["procrastinate", "--app", "bench._contenders.procrastinate_.app", "worker", "--concurrency", "8"]] * 2

app = App(connector=PsycopgConnector(conninfo=os.environ.get("DATABASE_URL", "")))


@app.task(name="effect")
def task(at: float) -> None:
    effect(at)


def install() -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"])) as sync, sync.open():
        sync.schema_manager.apply_schema()


def send(times: Sequence[float]) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"])) as sync, sync.open():
        for at in times:
            task.defer(at=at)


def send_at_once(times: Sequence[float]) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"])) as sync, sync.open():
        task.batch_defer(*({"at": at} for at in times))
