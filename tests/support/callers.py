"""Many callers of the Python interface at once: `python -m tests.support.callers MODEL FIRST COUNT`.

Each caller is a thread with inputs of its own (`question`), named by its number; prints one JSON list of
[number, run id, flat answer].
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import redis

ROWS, SIZE = 4, 64
WAYS: tuple[dict[str, Any], ...] = (
    {"strategy": "none"},
    {"strategy": "layer", "shards": 2},
    {"strategy": "data", "shards": 2},
)


def question(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((ROWS, SIZE)).astype(np.float32)


def way(number: int) -> dict[str, Any]:
    """How this caller wants it: whole, cut by layers, or its batch split."""
    return WAYS[number % len(WAYS)]


def fill(store: redis.Redis) -> None:
    """Write keys `full-…` until the store takes not a hundred bytes more."""
    for size in (2**20, 2**14, 100):
        with contextlib.suppress(redis.OutOfMemoryError):
            for number in range(100_000):
                store.set(f"full-{size}-{number}", b"x" * size)
            raise AssertionError("the store has no cap")


def main(model: str, first: int, count: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
    import django

    django.setup()
    from django.db import connection

    from inference.runs import creation
    from inference.store.tensors import decode_array, encode_array

    together = threading.Barrier(count)

    def call(number: int) -> tuple[int, str, list[float]]:
        inputs = [encode_array("x", question(number))]
        together.wait()
        try:
            run, (y,) = creation.infer(
                creation.RunRequest(model=model, inputs=inputs, **way(number))
            )
        finally:
            connection.close()
        return number, str(run.pk), decode_array(y).ravel().tolist()

    with ThreadPoolExecutor(count) as threads:
        json.dump(list(threads.map(call, range(first, first + count))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
