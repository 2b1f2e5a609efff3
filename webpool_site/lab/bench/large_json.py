"""What a caller waits for an answer while another one sends large JSON without a pause."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from browsers.core.protocol import WireTensor
from inference.auth import create_key
from inference.documents import JsonObject
from inference.models import ApiKey
from inference.store.tensors import decode_array, encode_array
from inference.wire.oip.datatypes import NAMES
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP

_CONNECTIONS, _VALUES, _GOAL = 2, 400_000, 2.0
_GREEDY, _PATIENT = "bench large", "bench small"


class _Sender:
    """Sends one body over a connection that it keeps, with a key."""

    def __init__(self, port: int, key: str, model: str, document: Mapping[str, object]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._path, self._body = f"/v2/models/{model}/infer", json.dumps(document).encode()
        self.size = len(self._body)

    def __call__(self, expected: int) -> None:
        self._connection.request("POST", self._path, self._body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"expected status {expected}, got {answer.status}: {said[:200]!r}")

    def close(self) -> None:
        self._connection.close()


def measure(pool: Pool, model: str, inputs: Sequence[WireTensor]) -> Iterator[Row | str]:
    """Small requests over /v2 one after another, alone and beside bodies that are read and then refused.

    Args:
        inputs: of a small request.
    """
    small = {
        "inputs": [_entry(tensor) for tensor in inputs],
        "parameters": {"browsers": pool.ids[0], "platform": "wasm"},
    }
    values = np.random.default_rng(5).random(_VALUES, np.float32)
    large = {"inputs": [_entry(encode_array("of no port", values))]}
    n = max(50, pool.n)
    _forget_keys()
    try:
        mine = _Sender(pool.port, create_key(_PATIENT)[1], model, small)
        _times(mine, WARM_UP)
        alone = row(f"small JSON over /v2 alone, {pool.ids[0]}", _times(mine, n))
        yield alone
        key = create_key(_GREEDY)[1]
        senders = [_Sender(pool.port, key, model, large) for _ in range(_CONNECTIONS)]
        with _sending(senders) as sent:
            mine.close()  # the server may have: it was idle until the large bodies were under way
            _times(mine, 1)
            sent.clear()
            times = _times(mine, n)
        mine.close()
    finally:
        _forget_keys()
    what = f"beside {senders[0].size / 1e6:.0f} MB of JSON over {_CONNECTIONS} connections of another key"
    beside = row(what, times, large_bodies=len(sent))
    yield beside
    yield (
        f"p95 beside the large JSON / alone: {beside.p95_ms / alone.p95_ms:.2f} (goal: at most {_GOAL:g})"
    )


def _entry(tensor: WireTensor) -> JsonObject:
    return {
        "name": tensor.name,
        "datatype": NAMES[tensor.dtype],
        "shape": list(tensor.shape),
        "data": decode_array(tensor).ravel().tolist(),
    }


def _forget_keys() -> None:
    ApiKey.objects.filter(name__in=(_GREEDY, _PATIENT)).delete()


def _times(sender: _Sender, n: int) -> list[float]:
    times = []
    for _ in range(n):
        began = time.perf_counter()
        sender(http.client.OK)
        times.append((time.perf_counter() - began) * 1000)
    return times


@contextlib.contextmanager
def _sending(senders: Sequence[_Sender]) -> Iterator[list[None]]:
    """Another caller, who sends the next body when one was refused; an entry for each that was."""
    stop = threading.Event()
    sent: list[None] = []
    begun = [threading.Event() for _ in senders]

    def keep_on(sender: _Sender, ready: threading.Event) -> None:
        while not stop.is_set():
            sender(http.client.BAD_REQUEST)
            sent.append(None)
            ready.set()
        sender.close()

    threads = [
        threading.Thread(target=keep_on, args=each, name="large")
        for each in zip(senders, begun, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        for ready in begun:
            if not ready.wait(120):
                raise RuntimeError("no large body was answered")
        sent.clear()
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()
