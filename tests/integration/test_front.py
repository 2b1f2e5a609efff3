"""What every door of the running stack refuses before it reads a body."""

from __future__ import annotations

import socket

import pytest

from tests.support.stack import RunningStack

MINILM = "/v2/models/minilm/infer"


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (f"POST {MINILM}", "Content-Length: 300000000", 413),
        ("POST /api/runs/", "Content-Length: 300000000", 413),
        ("POST /admin/login/", "Content-Length: 300000000", 413),
        ("GET /api/models/", "Content-Length: 300000000", 413),
        ("OPTIONS /admin/inference/onnxmodel/add/", "Content-Length: 300000000", 413),
        ("GET /api/models/", "Transfer-Encoding: chunked", 411),
        ("POST /api/models/", "Content-Length: 5000000000", 413),
        ("POST /api/models/", "Transfer-Encoding: chunked", 411),
        ("POST /admin/inference/onnxmodel/add/", "Content-Length: 5000000000", 413),
        ("POST /admin/inference/onnxmodel/add/", "Transfer-Encoding: chunked", 411),
        ("POST /admin/inference/onnxmodel/add/", "Content-Length: 300000000", 401),
    ],
)
def test_a_body_that_may_not_come_is_refused_unread(
    stack: RunningStack, request_line: str, header: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as raw:
        raw.sendall(f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
        assert raw.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
