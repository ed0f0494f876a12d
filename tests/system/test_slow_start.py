"""An embedded Postgres that takes longer to start than its package waits."""

import subprocess
from pathlib import Path
from threading import Timer
from types import SimpleNamespace

from service.local import embedded


def test_a_postgres_that_is_slow_to_start_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(embedded, "LOCAL", tmp_path)
    calls: list[str] = []

    def server() -> SimpleNamespace:
        calls.append("server")
        if len(calls) == 1:
            Timer(0.3, (tmp_path / "postmaster.pid").write_text, ("1\nready\n",)).start()
            raise subprocess.TimeoutExpired("pg_ctl", 10)
        return SimpleNamespace(start=lambda: calls.append("start"))

    embedded._started(server, tmp_path)
    assert calls == ["server", "server", "start", "server"]
