"""Bytes to a web process, and what it answers."""

import json
import socket

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /api/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def ask(client: socket.socket, request: bytes) -> tuple[int, dict[str, object]]:
    """The status and the JSON of the answer to these bytes."""
    if request:
        client.sendall(request)
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
