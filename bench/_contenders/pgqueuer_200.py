from bench._contenders.pgqueuer_20 import SERVER, install, send, send_at_once

__all__ = ["COMMANDS", "NUMBER", "SERVER", "TITLE", "install", "send", "send_at_once"]

TITLE = "pgqueuer, batch 200 (its best)"
NUMBER = 30_000
COMMANDS = [["python", "-m", "bench._contenders.pgqueuer_20", "200"]] * 2
