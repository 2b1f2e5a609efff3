"""Requests over connections that are kept, as two keys of a pool send them."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from inference.auth import create_key
from inference.documents import JsonObject
from inference.models import ApiKey
from inference.store.tensors import decode_array
from inference.wire.oip.datatypes import NAMES
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.strategies import Member

_GREEDY, _PATIENT = "bench greedy key", "bench patient key"


@dataclass(frozen=True)
class Asked:
    """One request: what is sent, and the statuses that are no mistake."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    expected: Collection[int] = (http.client.OK,)


class Sender:
    """Sends one request over a connection that it keeps, with a key."""

    def __init__(self, port: int, key: str, asked: Asked) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Content-Type": asked.content_type, "Authorization": f"Bearer {key}"}
        self._asked = asked

    def __call__(self) -> None:
        asked = self._asked
        self._connection.request(asked.method, asked.path, asked.body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in asked.expected:
            raise RuntimeError(f"expected {asked.expected}, got {answer.status}: {said[:200]!r}")

    def times(self, n: int) -> list[float]:
        """In milliseconds, one after another."""
        times = []
        for _ in range(n):
            began = time.perf_counter()
            self()
            times.append((time.perf_counter() - began) * 1000)
        return times

    def close(self) -> None:
        """It opens again with the next request."""
        self._connection.close()


@contextlib.contextmanager
def two_keys() -> Iterator[tuple[str, str]]:
    """Of a patient caller and of a greedy one; they exist inside."""
    mine = ApiKey.objects.filter(name__in=(_GREEDY, _PATIENT))
    mine.delete()
    try:
        yield create_key(_PATIENT)[1], create_key(_GREEDY)[1]
    finally:
        mine.delete()


def small_request(pool: Pool, member: Member) -> JsonObject:
    """Of /v2, to the fastest browser on wasm."""
    return {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data": decode_array(tensor).ravel().tolist(),
            }
            for tensor in member.inputs
        ],
        "parameters": {"browsers": pool.ids[0], "platform": "wasm"},
    }


def path_of(member: Member) -> str:
    return f"/v2/models/{member.name}/infer"
