"""What a caller waits while another key asks without a pause over a dozen connections.

The other caller is a process of its own with the lowest priority, so that it takes what the pool leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping

from urllib3 import encode_multipart_formdata

from webpool_site.lab.bench.fairness.senders import (
    Asked,
    Sender,
    path_of,
    small_request,
    two_keys,
)
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP, Member

_CONNECTIONS, _GOAL = 12, 2.0
_RUN = f"import django; django.setup(); from {__name__} import flood; flood()"


def measure(pool: Pool, member: Member) -> Iterator[Row | str]:
    """Small requests over /v2 one after another, alone and beside each kind of requests."""
    n = max(100, pool.n)
    request = Asked("POST", path_of(member), json.dumps(small_request(pool, member)).encode())
    with two_keys() as (patient, greedy):
        mine = Sender(pool.port, patient, request)
        mine.times(WARM_UP)
        alone = row(f"small JSON over /v2 alone, {pool.ids[0]}", mine.times(n))
        yield alone
        ratios = {}
        for what, asked in _floods(pool, member).items():
            mine.close()  # the server may have: it is idle until the others are under way
            with _flooded(pool.port, greedy, asked) as answered:
                mine.times(1)
                times = mine.times(n)
            beside = row(f"beside {what}", times, **answered)
            yield beside
            ratios[what] = beside.p95_ms / alone.p95_ms
    told = ", ".join(f"{ratio:.2f} {what}" for what, ratio in ratios.items())
    yield f"p95 beside {_CONNECTIONS} connections of another key / alone: {told} (goal: at most {_GOAL:g})"


def _floods(pool: Pool, member: Member) -> Mapping[str, Asked]:
    small = small_request(pool, member)
    elsewhere = {**small, "parameters": {"browsers": pool.ids[-1], "platform": "wasm"}}
    parquet = b"PAR1" + bytes(1_000_000) + b"PAR1"
    job, content_type = encode_multipart_formdata(
        {"model": member.name, "file": ("no.parquet", parquet)}
    )
    return {
        "reading /api/models/": Asked("GET", "/api/models/"),
        "reading a model's metadata over /v2": Asked("GET", f"/v2/models/{member.name}"),
        "scraping /metrics": Asked("GET", "/metrics"),
        "requests without inputs": Asked(
            "POST", path_of(member), b'{"inputs": []}', expected=(400,)
        ),
        "batch files that are refused": Asked(
            "POST", "/api/batches/", job, content_type, expected=(400, 429)
        ),
        "runs in the same browser": Asked("POST", path_of(member), json.dumps(small).encode()),
        "runs in another browser": Asked("POST", path_of(member), json.dumps(elsewhere).encode()),
    }


@contextlib.contextmanager
def _flooded(port: int, key: str, asked: Asked) -> Iterator[dict[str, float]]:
    """The other caller is under way inside; afterwards how many requests a second were answered."""
    told: dict[str, float] = {}
    given = json.dumps(
        [port, key, [asked.method, asked.path, asked.content_type, list(asked.expected)]]
    )
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(len(asked.body).to_bytes(8, "big") + asked.body)
        process.stdin.flush()
        if not process.stdout.readline():
            raise RuntimeError(f"the other caller failed: {asked.method} {asked.path}")
        yield told
    finally:
        answered, _ = process.communicate(timeout=60)
        if process.returncode:
            raise RuntimeError(f"the other caller failed: {asked.method} {asked.path}")
    told["answered_per_s"] = float(answered)


def flood() -> None:
    """The other caller: says when it was answered, goes on until its input ends, tells how often it was."""
    port, key, (method, path, content_type, expected) = json.loads(sys.argv[1])
    body = sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "big"))
    os.nice(19)
    sender = Sender(port, key, Asked(method, path, body, content_type, expected))
    sender()
    answered = [0] * _CONNECTIONS

    def keep_on(number: int) -> None:
        each = Sender(port, key, Asked(method, path, body, content_type, expected))
        try:
            while True:
                each()
                answered[number] += 1
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)

    began = time.monotonic()
    for number in range(_CONNECTIONS):
        threading.Thread(target=keep_on, args=(number,), daemon=True).start()
    print("under way", flush=True)
    sys.stdin.buffer.read()
    print(round(sum(answered) / (time.monotonic() - began), 1), flush=True)
    os._exit(0)  # its connections wait for answers
