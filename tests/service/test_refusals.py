"""What the web server itself refuses is in the log, however much of it comes."""

import socket

from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import wait_until
from service.refusals import LINES_A_SECOND
from tests.conftest import answers
from tests.service.wire import ask


def test_each_refusal_is_a_line_up_to_ten_a_second_and_the_rest_is_counted(start) -> None:
    port = free_port()
    web = start("web", PORT=port)
    wait_until(lambda: answers(Client(f"http://127.0.0.1:{port}")), 30, "the web process")
    for _ in range(4 * LINES_A_SECOND):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            assert ask(client, b"GET / HTTP/1.1\r\nX: secret-token\x01\r\n\r\n")[0] == 400

    def told() -> int:
        return len(web.lines("http.refused")) + sum(line["number"] for line in web.lines("http.refusals_not_logged"))

    wait_until(lambda: told() == 4 * LINES_A_SECOND, 30, "all refusals to be written or counted")
    lines = web.lines("http.refused")
    assert {(line["status"], line["code"], line["level"]) for line in lines} == {(400, "invalid_request", "warning")}
    assert len({line["request_id"] for line in lines}) == len(lines)
    by_second: dict[str, int] = {}
    for line in lines:
        by_second[line["timestamp"][:19]] = by_second.get(line["timestamp"][:19], 0) + 1
    assert max(by_second.values()) <= 2 * LINES_A_SECOND  # the server's seconds are not the clock's
    assert "secret-token" not in web.log.read_text()
