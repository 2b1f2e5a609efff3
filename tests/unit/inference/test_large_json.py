"""Large JSON is built in another process: the same tensors, the same words, nothing of it built here."""

from __future__ import annotations

import json
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest

from browsers.core.protocol import WireTensor, pack_strings
from inference.conversion.documents import LARGE_BYTES, LARGE_VALUES, is_large
from inference.errors import InvalidRequest, NotJson, TooLarge, WebpoolError
from inference.sandbox.helper import helper
from inference.wire import apart
from inference.wire.apart import BODY, Child, Desk, bounds, packed
from inference.wire.oip.apart import Reply, decode
from inference.wire.oip.reading import InferRequest, decode_request
from inference.wire.openai.apart import Embeddings

COUNT = 2 * LARGE_VALUES


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.close()


def request(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(entries), **more}).encode()


def entry(data: Any, datatype: str = "FP32", name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **more}


NUMBERS = [index + 0.1 for index in range(COUNT)]


def same(one: InferRequest, other: InferRequest) -> bool:
    def told(found: InferRequest) -> list[Any]:
        return [(t.name, t.dtype, t.shape, bytes(t.data)) for t in found.inputs]

    rest = [(r.id, r.outputs, dict(r.parameters), r.binary_by_default) for r in (one, other)]
    return told(one) == told(other) and rest[0] == rest[1]


def test_what_is_large() -> None:
    assert not is_large(b"0," * LARGE_VALUES)
    assert is_large(b"0," * (LARGE_VALUES + 1))
    assert is_large(b" " * (LARGE_BYTES + 1))
    assert not is_large(b"{}" + b"," * LARGE_BYTES, 2), "what follows the JSON is binary"


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        (request(entry(NUMBERS)), None),
        (request(entry([*range(COUNT), 2**63 - 1], "INT64"), entry([True, False], "BOOL", "b")), None),
        (request(entry(["a", "ü€", ""] * LARGE_VALUES, "BYTES")), None),
        (request(entry([1, 0.5] * LARGE_VALUES, "FP16"), id="ü", outputs=[{"name": "y"}]), None),
        (request(entry([], "FP64"), parameters={"shards": 2, "note": "a" * LARGE_BYTES}), None),
    ],
)  # fmt: skip
def test_a_large_request_is_read_as_a_small_one_is(child: Child, raw: bytes, header: None) -> None:
    assert is_large(raw)
    assert same(decode(child, raw, header), decode_request(raw, header))


def test_binary_tensors_behind_large_json_arrive(child: Child) -> None:
    binary = {"name": "b", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4}}
    text = request(entry(NUMBERS), binary)
    sent = text + b"\1\0\2\0"
    assert same(decode(child, sent, str(len(text))), decode_request(sent, str(len(text))))


def refusal(ask: Callable[[], object]) -> tuple[type, str]:
    with pytest.raises(WebpoolError) as refused:
        ask()
    return type(refused.value), str(refused.value)


WRONG = {
    "no JSON": b"[" + b"0," * COUNT,
    "no UTF-8": b'{"a":"\xff"}' + b" " * LARGE_BYTES,
    "NaN": request(entry([*NUMBERS, float("nan")])),
    "deep": b"[" * COUNT + b"]" * COUNT + b" " * LARGE_BYTES,
    "half a surrogate": request(entry(NUMBERS), id="\ud800"),
    "out of range": request(entry([*range(100)] * 400 + [300], "INT8")),
    "a float": request(entry([*range(COUNT), 1.0], "INT64")),
    "a whole number that no float32 is": request(entry([*NUMBERS, 2**24 + 1])),
    "ragged": request(entry([[1, 2], [3]] * LARGE_VALUES)),
    "another shape": request({**entry(NUMBERS), "shape": [3]}),
    "twice": request(entry(NUMBERS), entry(NUMBERS)),
    "no object": b"[" + b"0," * COUNT + b"0]",
    "many values": request(entry([0] * 1_000_001, "UINT8")),
    "many bytes": b" " * (16 * 2**20 + 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_large_request_is_refused_in_the_same_words(child: Child, what: str) -> None:
    here = refusal(lambda: decode_request(WRONG[what], None))
    assert refusal(lambda: decode(child, WRONG[what], None)) == here


def test_a_request_that_is_large_beside_its_tensors_is_refused(child: Child) -> None:
    wishes = [{"name": str(index)} for index in range(LARGE_VALUES)]
    with pytest.raises(TooLarge, match="values beside its tensors"):
        decode(child, request(entry([1]), outputs=wishes), None)
    document = json.dumps({"messages": [[]] * (LARGE_VALUES + 1)}).encode()
    with pytest.raises(TooLarge, match="values beside its tensors"):
        apart.read(child, document)
    few = {"messages": [{"content": "ü\n" * LARGE_BYTES}], "n": 1.5, "stop": None}
    assert apart.read(child, json.dumps(few).encode()) == few


def test_the_values_of_a_large_request_are_never_objects_of_this_process(child: Child) -> None:
    raw = request(entry([0.5] * 300_000))
    peaks = []
    child.ask(
        "inference.wire.building:document", {apart.BODY: apart.packed(b"1")}, bounds=apart.bounds(1)
    )
    for read in (lambda: decode_request(raw, None), lambda: decode(child, raw, None)):
        tracemalloc.start()
        try:
            read()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] > 300_000 * (24 + 8), "a float and its place in a list"
    assert peaks[1] < 300_000 * 2 * 4 + len(raw)


OUTPUTS = [
    WireTensor("y", "float32", (COUNT,), np.linspace(0, 1, COUNT, dtype=np.float32).tobytes()),
    WireTensor("s", "string", (2,), pack_strings(["ü", ""])),
]


@pytest.mark.parametrize("binary", [(False, False), (False, True), (True, False)])
def test_a_large_answer_is_written_as_a_small_one_is(child: Child, binary: Any) -> None:
    reply = Reply("m", "1", "ü", {"run": "r"}, list(zip(OUTPUTS, binary, strict=True)))
    assert reply.is_large is not binary[0]
    assert reply.encoded_by(child) == reply.encoded()


@pytest.mark.parametrize("packed", [False, True])
def test_many_embeddings_are_written_as_few_are(child: Child, packed: bool) -> None:
    vectors = np.linspace(0, 1, COUNT, dtype=np.float32).reshape(16, -1)
    told = Embeddings("ü", vectors, 7, packed)
    assert told.is_large
    assert told.encoded_by(child) == told.encoded()


def test_an_answer_that_json_lacks_is_refused_in_the_same_words(child: Child) -> None:
    values = np.full(COUNT, np.nan, np.float32)
    reply = Reply(
        "m", "1", None, {}, [(WireTensor("y", "float32", (COUNT,), values.tobytes()), False)]
    )
    here = refusal(reply.encoded)
    assert here[0] is NotJson
    assert refusal(lambda: reply.encoded_by(child)) == here


def test_the_death_of_the_child_is_told_and_the_next_one_reads(settings: Any) -> None:
    own, raw = Child(), request(entry([0.5] * 300_000))
    settings.WEBPOOL_SANDBOX_MEMORY_MB = 8
    with pytest.raises(InvalidRequest, match="it needed more than 8 MB of memory"):
        decode(own, raw, None)
    settings.WEBPOOL_SANDBOX_MEMORY_MB = 512
    assert decode(own, raw, None).inputs[0].shape == (300_000,)
    own.close()


def test_a_child_that_was_ended_between_two_bodies_is_nobodys_refusal() -> None:
    own, raw, others = Child(), request(entry(NUMBERS)), psutil.Process(helper().pid)
    before = set(others.children())
    decode(own, raw, None)
    (mine,) = set(others.children()) - before
    mine.kill()
    psutil.wait_procs([mine], 60)
    assert same(decode(own, raw, None), decode_request(raw, None))
    own.close()


def test_what_the_child_computes_is_its_own_processs_time() -> None:
    own, raw, others = Child(), request(entry([0.5] * 900_000)), psutil.Process(helper().pid)
    before = set(others.children())
    own.ask("inference.wire.building:document", {BODY: packed(b"1")}, bounds=bounds(1))
    (mine,) = set(others.children()) - before
    started, here = sum(mine.cpu_times()[:2]), time.process_time()
    decode(own, raw, None)
    here = time.process_time() - here
    assert sum(mine.cpu_times()[:2]) - started > 2 * here
    own.close()


def test_others_of_the_machine_go_before_the_child() -> None:
    """On one core the child, in the middle of a body, gets next to nothing of the time that another takes."""
    own, raw, others = Child(), request(entry([0.5] * 900_000)), psutil.Process(helper().pid)
    before = set(others.children())
    own.ask("inference.wire.building:document", {BODY: packed(b"1")}, bounds=bounds(1))
    (mine,) = set(others.children()) - before
    core = min(os.sched_getaffinity(0))
    mine.cpu_affinity([core])

    def computed_s() -> float:
        return sum(mine.cpu_times()[:2])

    def compute_beside() -> tuple[float, bool]:
        os.sched_setaffinity(0, {core})  # this thread's
        began, started = time.thread_time(), computed_s()
        while time.thread_time() - began < 0.4:
            pass
        return computed_s() - started, asked.running()

    with ThreadPoolExecutor(2) as threads:
        idle = computed_s()
        asked = threads.submit(decode, own, raw, None)
        while computed_s() == idle:
            pass
        childs, still_asked = threads.submit(compute_beside).result()
        asked.result()
    assert still_asked
    assert childs < 0.4 / 3
    own.close()


def test_large_bodies_of_one_owner_queue_behind_one_another_and_hold_up_nobody_else() -> None:
    desk, begun, go = Desk(), threading.Event(), threading.Event()
    order: list[str] = []

    def noted(owner: str) -> Callable[[Child], None]:
        return lambda _: order.append(owner)

    def first(_: Child) -> None:
        begun.set()
        go.wait()

    waiting = [desk.submit("greedy", first)]
    begun.wait()
    waiting += [desk.submit("greedy", noted("greedy")) for _ in range(2)]
    desk.submit("patient", noted("patient")).result(60)
    go.set()
    for future in waiting:
        future.result(60)
    assert order == ["patient", "greedy", "greedy"]


def test_where_all_children_are_taken_the_owner_that_was_served_longest_ago_is_next() -> None:
    desk, begun, go = Desk(), threading.Semaphore(0), threading.Event()
    order: list[str] = []
    children: list[Child] = []

    def noted(owner: str) -> Callable[[Child], None]:
        return lambda _: order.append(owner)

    def first(child: Child) -> None:
        children.append(child)
        begun.release()
        go.wait()

    waiting = [desk.submit(owner, first) for owner in ("greedy", "second greedy")]
    for _ in waiting:
        begun.acquire()
    waiting += [desk.submit(owner, noted(owner)) for owner in ("greedy", "patient")]
    left = desk.submit("gone", noted("gone"))
    assert left.cancel()
    assert order == []
    assert children[0] is not children[1]
    go.set()
    for future in waiting:
        future.result(60)
    assert sorted(order) == ["greedy", "patient"]
    desk.submit("greedy", children.append).result(60)
    desk.submit("patient", children.append).result(60)
    assert children[2] is children[3], "one after another need no second child"
