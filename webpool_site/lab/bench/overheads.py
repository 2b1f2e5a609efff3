"""What the pool adds to a request; each case says what it subtracts, and baselines stand beside."""

from __future__ import annotations

import functools
import gc
import json
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from django.conf import settings

from browsers.core.protocol import WireTensor
from browsers.queues import CONTROL_QUEUE
from browsers.session import BrowserSession
from browsers.worker.worker import model_file
from inference.catalog import registry
from inference.models import OnnxModel
from inference.runs import creation
from inference.runs.metrics import run_metrics
from inference.store.files import path_of
from inference.store.tensors import encode_array
from inference.tasks import nothing
from inference.zoo import micro
from webpool_site.lab.bench import processor, stations
from webpool_site.lab.bench.own_browser import own_browser
from webpool_site.lab.bench.parts import Line, Pool
from webpool_site.lab.bench.stats import Row, Table, row, timed
from webpool_site.lab.bench.switches import between, costs

WARM_UP = 20
SMALL = np.ones((1, 64), np.float32)


def measure(pool: Pool) -> Iterator[Line]:
    """Overheads through the Python door and HTTP, a crowd, the baselines, and where the time goes."""
    _register_models()
    yield from ways(pool)
    yield processor.table(pool.pids, pool.port, _bodies(pool.ids[0]), 3 * pool.n, warm_up=WARM_UP)
    yield from switched(pool)
    yield from in_turns(pool.ids, pool.n)
    yield from pool_cases(pool.ids, pool.n)
    yield http_case(pool.port, pool.ids[0], pool.n)
    yield concurrency_case(200)
    yield baseline_onnxruntime(pool.n)
    yield from baseline_page(pool.browsers[0].kind, pool.n)


def _register_models() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("bench-chain", micro.chain), ("bench-add", micro.add_one)):
            registry.add_model(build(Path(folder) / f"{name}.onnx"), name=name)


def request(model: str, array: np.ndarray[Any, Any], **wishes: Any) -> creation.RunRequest:
    return creation.RunRequest(
        model=model, inputs=[encode_array("x", array)], owner="bench", **wishes
    )


def overheads(
    wanted: creation.RunRequest, n: int, *, of_shards: Callable[[list[float]], float] = sum
) -> list[float]:
    """Times of `n` runs in ms, less the page's own compute: its sum, or its maximum for a group.

    What each shard took is read from the ledger after the clock has stopped.
    """
    return [_overhead(wanted, of_shards) for _ in range(WARM_UP + n)][WARM_UP:]


def _overhead(
    wanted: creation.RunRequest, of_shards: Callable[[list[float]], float] = sum
) -> float:
    began = time.perf_counter()
    run, _ = creation.infer(wanted)
    took_ms = (time.perf_counter() - began) * 1000
    return took_ms - of_shards([shard["compute_ms"] for shard in run_metrics(run)["shards"]])


def in_turns(browsers: list[str], n: int) -> Iterator[Row]:
    """An empty Celery task beside runs of one and more shards, one of each after the other.

    Whoever else uses the machine then slows all alike; what a run costs is told in such tasks, too.
    """
    wanted = {
        shards: request("bench-chain", SMALL, strategy="layer" if shards > 1 else "",
                        shards=shards if shards > 1 else None, platform="wasm",
                        browsers=tuple(browsers[:shards]))
        for shards in (1, 2, 4)
    }  # fmt: skip
    hops: list[float] = []
    runs: dict[int, list[float]] = {shards: [] for shards in wanted}
    for _ in range(WARM_UP + n):
        hops += timed(_empty_task, 1, warm_up=0)
        for shards, asked in wanted.items():
            runs[shards].append(_overhead(asked))
    gc.collect()  # a result unsubscribes when it is collected: now, while its server is there
    empty = row("baseline: empty Celery task with result", hops[WARM_UP:])
    unsharded = _beside(empty, f"unsharded, 256 B, {browsers[0]} wasm", runs.pop(1)[WARM_UP:], 2.5)
    yield from (empty, unsharded)
    for shards, samples in runs.items():
        extra = [(sample - unsharded.median_ms) / (shards - 1) for sample in samples[WARM_UP:]]
        yield _beside(empty, f"per extra sequential shard ({shards} shards)", extra, 2.0)


def _beside(empty: Row, name: str, samples: list[float], most: float) -> Row:
    """`most`: how many empty tasks it may take."""
    goal_ms, tasks = most * empty.median_ms, float(np.median(samples)) / empty.median_ms
    return row(name, samples, goal_ms=goal_ms, empty_tasks=tasks, goal_tasks=most)


def _empty_task() -> float:
    nothing.apply_async(queue=CONTROL_QUEUE).get(timeout=10)
    return 0.0


def pool_cases(browsers: list[str], n: int) -> Iterator[Row]:
    """Overheads through `inference.runs`, records included."""
    first = browsers[0]
    for parts in range(2, len(browsers) + 1):
        batch = np.ones((parts, 64), np.float32)
        wanted = request("bench-chain", batch, strategy="data", shards=parts, platform="wasm",
                         browsers=tuple(browsers[:parts]))  # fmt: skip
        samples = overheads(wanted, n, of_shards=max)
        yield row(f"parallel group of {parts}, less its slowest shard's compute", samples)
    for megabytes in (1, 16):
        wanted = request(
            "bench-add", np.ones(megabytes * 2**18, np.float32), browsers=(first,), platform="wasm"
        )
        samples = overheads(wanted, n)
        yield row(f"unsharded, {megabytes} MB in and out, {first} wasm", samples)


def _bodies(browser: str) -> dict[str, dict[str, Any]]:
    """What is asked over /v2 of a tiny model and, where it is registered, of the sample one."""
    chain = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": SMALL.ravel().tolist()}
    ids = {
        "name": "input_ids",
        "datatype": "INT64",
        "shape": [1, 4],
        "data": [101, 7592, 2088, 102],
    }
    parameters = {"browsers": browser, "platform": "wasm"}
    bodies = {"bench-chain": {"inputs": [chain], "parameters": parameters}}
    if OnnxModel.objects.filter(name=processor.SAMPLE).exists():
        bodies[processor.SAMPLE] = {"inputs": [ids], "parameters": parameters}
    return bodies


def ways(pool: Pool) -> Iterator[Table]:
    """From station to station: over HTTP, and through Python in two shards where there are two browsers."""
    caller = processor.Caller.of_model(
        pool.port, "bench-chain", _bodies(pool.ids[0])["bench-chain"]
    )
    over_http = stations.observe(lambda: uuid.UUID(caller()["parameters"]["run"]), WARM_UP + pool.n)
    caller.close()
    yield stations.table("one request over /v2, JSON, from station to station", over_http[WARM_UP:])
    if len(pool.ids) > 1:
        wanted = request("bench-chain", SMALL, strategy="layer", shards=2, platform="wasm",
                         browsers=tuple(pool.ids[:2]))  # fmt: skip
        split = stations.observe(lambda: creation.infer(wanted)[0].pk, WARM_UP + pool.n)
        yield stations.table(
            "two layer shards, asked from Python, from station to station", split[WARM_UP:]
        )


def switched(pool: Pool) -> Iterator[Line]:
    """What breakers and history cost where the browser is left to the pool, and the way from point to point.

    Of the sample model where there is one.
    """
    model, named = list(_bodies(pool.ids[0]).items())[-1]
    document = {**named, "parameters": {"critical": True}}  # nothing is explored
    connect = functools.partial(processor.Caller.of_model, pool.port, model, document)
    yield from costs.measure(pool.pids, connect, _empty_task, 2 * pool.n)
    gc.collect()  # as below: what the empty tasks left
    connect = functools.partial(processor.Caller.of_model, pool.port, model, named)
    yield from between.tables(pool.pids, pool.ids[0], connect, 2 * pool.n)


def http_case(port: int, browser: str, n: int) -> Row:
    """The same over HTTP, JSON both ways; the page's compute is not subtracted, it is stated."""
    body = json.dumps(_bodies(browser)["bench-chain"]).encode()
    url = f"http://127.0.0.1:{port}/v2/models/bench-chain/infer"
    headers = {"Content-Type": "application/json"}

    def post() -> float:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as got:
            got.read()
        return 0.0

    return row(f"/v2 infer over HTTP, compute included, {browser}", timed(post, n, warm_up=WARM_UP))


def concurrency_case(total: int) -> Row:
    """Many requests at once over the whole pool; the row's times are whole requests."""

    def one(_: int) -> float:
        began = time.perf_counter()
        creation.infer(request("bench-chain", SMALL, platform="wasm"))
        return (time.perf_counter() - began) * 1000

    began = time.perf_counter()
    with ThreadPoolExecutor(32) as threads:
        samples = list(threads.map(one, range(total)))
    seconds = time.perf_counter() - began
    return row(f"{total} requests, 32 at a time, whole pool", samples,
               requests_per_s=round(total / seconds, 1))  # fmt: skip


def baseline_onnxruntime(n: int) -> Row:
    session = onnxruntime.InferenceSession(
        str(path_of(registry.get_model("bench-chain").sha256)),
        providers=["CPUExecutionProvider"],
    )

    def run() -> float:
        session.run(None, {"x": SMALL})
        return 0.0

    return row("baseline: onnxruntime in Python, the whole call", timed(run, n, warm_up=WARM_UP))


def baseline_page(kind: str, n: int) -> Iterator[Row]:
    """The same page and model without Celery and database: a browser of the bench's own."""
    session = own_browser(kind, files=model_file)
    session.start(settings.WEBPOOL_BROWSER_START_S)
    try:
        cases: list[tuple[str, str, np.ndarray[Any, Any], int]] = [
            ("256 B", "bench-chain", SMALL, WARM_UP),
            ("1 MB", "bench-add", np.ones(2**18, np.float32), 3),
            ("16 MB", "bench-add", np.ones(16 * 2**18, np.float32), 3),
        ]
        for size, model, array, warm_up in cases:
            samples = timed(_direct(session, model, encode_array("x", array)), n, warm_up=warm_up)
            yield row(
                f"baseline: same page and model, no Celery, no database, {size}, {kind} wasm",
                samples,
            )
    finally:
        session.close(5.0)


def _direct(session: BrowserSession, model: str, tensor: WireTensor) -> Callable[[], float]:
    sha256 = registry.get_model(model).sha256

    def run() -> float:
        report = session.run(
            model_sha256=sha256,
            inputs=[tensor],
            backend="wasm",
            strict=False,
            dims={},
            deadline_s=60,
        )
        return report.compute_ms

    return run
