"""What a request brought is let go of when it was answered or failed, not when cycles are collected."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator, Mapping

import pytest

from inference.models import OnnxModel
from inference.runs import serving
from inference.wire.oip.datatypes import HEADER_LENGTH
from tests.support.asgi import ask

LARGE = 12 * 2**20
JSON = {"content-type": "application/json"}
LEFT = 2 * 2**20


@pytest.fixture(scope="module")
def model(asked_model: OnnxModel) -> OnnxModel:
    return asked_model


@pytest.fixture
def no_cycles_collected(model: OnnxModel) -> Iterator[None]:
    """From after first requests, which have the process look things up and load them once."""
    ask("POST", f"/v2/models/{model.name}/infer", *infer([1, 4]))
    ask("POST", "/api/runs/", b"{}", JSON)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.fixture(params=["few", "many"])
def callers(request: pytest.FixtureRequest) -> Iterator[str]:
    """Few keep their thread until they are answered; of many the event loop waits."""
    with contextlib.ExitStack() as taken:
        while request.param == "many" and serving._may_wait.acquire(blocking=False):
            taken.callback(serving._may_wait.release)
        yield request.param


def infer(shape: list[int]) -> tuple[bytes, dict[str, str]]:
    """A packed request with zeros of that shape in binary form."""
    size = shape[0] * shape[1] * 4
    tensor = {"name": "x", "datatype": "FP32", "shape": shape}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    headers = {HEADER_LENGTH: str(len(head)), "content-encoding": "gzip"}
    return gzip.compress(head + bytes(size), 1), headers


def held_after(path: str, body: bytes, headers: Mapping[str, str], expected: int) -> int:
    """How many bytes are held once it is answered, with that status; what threads still do is waited for."""
    before = tracemalloc.get_traced_memory()[0]
    answered = ask("POST", path, body, headers)
    assert answered.status == expected, answered.body
    assert tracemalloc.get_traced_memory()[1] - before > LARGE, "it was there"
    until = time.monotonic() + 5
    while (held := tracemalloc.get_traced_memory()[0] - before) > LEFT:
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return held


@pytest.mark.usefixtures("no_cycles_collected", "callers")
@pytest.mark.parametrize(("rows", "width", "status"), [(LARGE // 16, 4, 504), (2, LARGE // 8, 400)])
def test_tensors(model: OnnxModel, rows: int, width: int, status: int) -> None:
    """Of a run that fails, and of one that is refused."""
    body, headers = infer([rows, width])
    assert held_after(f"/v2/models/{model.name}/infer", body, headers, status) < LEFT


@pytest.mark.usefixtures("no_cycles_collected")
@pytest.mark.parametrize("path", ["/v2/models/{}/infer", "/v1/embeddings", "/api/runs/"])
def test_documents_that_are_refused_in_a_process_of_their_own(model: OnnxModel, path: str) -> None:
    body = json.dumps({"inputs": "a" * LARGE}).encode()
    assert held_after(path.format(model.name), body, JSON, 400) < LEFT
