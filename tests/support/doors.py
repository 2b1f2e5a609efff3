"""The doors of a running stack as callers use them: plain HTTP, forms, tensors as tritonclient sends them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from tests.support.stack import RunningStack

JSON = {"Content-Type": "application/json"}


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self) -> Any:
        return json.loads(self.body)


def send(
    stack: RunningStack,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=240)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def multipart(
    fields: Mapping[str, str], files: Sequence[tuple[str, Path]]
) -> tuple[bytes, dict[str, str]]:
    """A form's body and its header."""
    boundary = "webpool-test-boundary"

    def part(name: str, value: bytes, file: str = "") -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        return head.encode() + value + b"\r\n"

    parts = [part(key, value.encode()) for key, value in fields.items()]
    parts += [part(key, path.read_bytes(), f'; filename="{path.name}"') for key, path in files]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def upload(stack: RunningStack, path: Path, name: str, **more: Path) -> Answer:
    body, kind = multipart({"name": name}, [("file", path), *more.items()])
    return send(stack, "POST", "/api/models/", body, kind)


def triton_input(name: str, array: np.ndarray[Any, Any], *, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def ask(
    client: triton.InferenceServerClient, model: str, inputs: Mapping[str, Any], **parameters: Any
) -> dict[str, np.ndarray]:
    """One request with binary tensors, as any client of the protocol sends it."""
    sent = [triton_input(name, array, binary=True) for name, array in inputs.items()]
    answer = client.infer(model, sent, parameters=parameters)
    return {
        item["name"]: answer.as_numpy(item["name"]) for item in answer.get_response()["outputs"]
    }


def ended(stack: RunningStack, run_id: str) -> str | None:
    state: str = stack.get(f"/api/runs/{run_id}/")["state"]
    return None if state == "running" else state


def wait_for(ask: Any, timeout_s: float = 120.0) -> Any:
    """The first answer that is true of itself."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"nothing came within {timeout_s:g} s")


class WithKey(triton.InferenceServerClientPlugin):  # type: ignore[misc]
    """tritonclient's own way to have each call carry something."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: Any) -> None:
        request.headers["authorization"] = f"Bearer {self.key}"
