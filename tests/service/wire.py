"""Bytes to a web process, and what it answers."""

import json
import socket
import time

from service.local.client import Client

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /api/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
AT_ONCE = 5  # seconds, on a busy machine; who waited for a slow client would wait for its deadline of 10 s
PARTS: dict[str, tuple[bytes, bytes]] = {  # what a client sends at once, and then byte by byte
    "says nothing": (b"", b""),
    "sends a byte": (b"G", b""),
    "drips its head": (HEAD, b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    "drips its body": (b"POST /api/receipts/delete_all HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b"{" * 900),
    "drips its chunks": (
        b"POST /api/receipts/delete_all HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n",
        b"a" * 31,
    ),
    "never closes": (HEAD + b"Connection: close\r\n\r\n", b""),
}


def ask(client: socket.socket, request: bytes) -> tuple[int, dict[str, object]]:
    """The status and the JSON of the answer to these bytes."""
    if request:
        client.sendall(request)
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def longest_wait(client: Client, seconds: float) -> float:
    """The longest that /healthz took to answer, asked for so long."""
    deadline, longest = time.monotonic() + seconds, 0.0
    while time.monotonic() < deadline:
        began = time.monotonic()
        assert client.get("/healthz").status == 200
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.01)
    return longest
