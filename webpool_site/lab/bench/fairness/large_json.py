"""What a caller waits for an answer while another one sends large JSON without a pause."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from webpool_site.lab.bench.fairness.senders import Asked, Sender, path_of, small_request, two_keys
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP, Member

_CONNECTIONS, _VALUES, _GOAL = 2, 400_000, 2.0


def measure(pool: Pool, member: Member) -> Iterator[Row | str]:
    """Small requests over /v2 one after another, alone and beside bodies that are read and then refused."""
    small, path = small_request(pool, member), path_of(member)
    values = np.random.default_rng(5).random(_VALUES, np.float32)
    wrong = {"name": "of no port", "datatype": "FP32", "shape": [_VALUES], "data": values.tolist()}
    large = json.dumps({"inputs": [wrong]}).encode()
    n = max(50, pool.n)
    with two_keys() as (patient, greedy):
        mine = Sender(pool.port, patient, Asked("POST", path, json.dumps(small).encode()))
        mine.times(WARM_UP)
        alone = row(f"small JSON over /v2 alone, {pool.ids[0]}", mine.times(n))
        yield alone
        refused = Asked("POST", path, large, expected=(http.client.BAD_REQUEST,))
        senders = [Sender(pool.port, greedy, refused) for _ in range(_CONNECTIONS)]
        with _sending(senders) as sent:
            mine.close()  # the server may have: it was idle until the large bodies were under way
            mine.times(1)
            sent.clear()
            times = mine.times(n)
        mine.close()
    what = (
        f"beside {len(large) / 1e6:.0f} MB of JSON over {_CONNECTIONS} connections of another key"
    )
    beside = row(what, times, large_bodies=len(sent))
    yield beside
    yield (
        f"p95 beside the large JSON / alone: {beside.p95_ms / alone.p95_ms:.2f} (goal: at most {_GOAL:g})"
    )


@contextlib.contextmanager
def _sending(senders: Sequence[Sender]) -> Iterator[list[None]]:
    """Another caller, who sends the next body when one was refused; an entry for each that was."""
    stop = threading.Event()
    sent: list[None] = []
    begun = [threading.Event() for _ in senders]

    def keep_on(sender: Sender, ready: threading.Event) -> None:
        while not stop.is_set():
            sender()
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
