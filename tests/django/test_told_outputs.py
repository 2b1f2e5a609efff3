"""Small outputs come with the news of a run's end: over the real ledger and store, the test is the worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.utils import timezone

from browsers.redis import client
from inference.conversion.documents import LARGE_VALUES
from inference.ledger import endings
from inference.models import OnnxModel, Run
from inference.runs.answers import collect, get_run, refresh, release, wait_run
from inference.store import tensors, wakeups
from inference.store.tensors import TensorRef, WireTensor, decode_array
from inference.store.wakeups import Ending
from tests.support import workers
from tests.support.asgi import ask
from tests.support.batches import chain_model
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


def asked(*, taken: bool) -> Run:
    """A run of one shard that waits for its browser."""
    publish("a")
    run = make_run(shards=1)
    run.taken = taken
    if taken:
        tensors.store(run.pk, [], [wakeups.taken_key(run.pk)])
    return run


def answered(run: Run, size: int = 1) -> Run:
    row = run.shards.get()
    step = workers.claim((row.pk, row.fence))
    assert step is not None
    workers.answer(step, 7.0, size)
    return run


def stored() -> list[bytes]:
    return list(client().scan_iter("webpool:tensor:*"))


def values(outputs: list[WireTensor]) -> list[list[float]]:
    return [decode_array(output).tolist() for output in outputs]


def test_who_takes_them_is_told_them_and_the_store_keeps_nothing() -> None:
    run = wait_run(answered(asked(taken=True)))
    assert run.told is not None
    assert stored() == []
    assert values(collect(run)) == values(collect(run, keep=False)) == [[7.0]]
    assert client().ttl(f"webpool:done:{run.pk}") <= 120


def test_outputs_of_which_the_store_has_lost_one_are_not_told() -> None:
    run, array = asked(taken=True), np.ones(2, np.float32)
    refs = tensors.store(run.pk, [tensors.encode_array(name, array) for name in ("y", "z")])
    client().delete(refs[1].key)
    outputs = {ref.key: ref.to_json() for ref in refs}
    wakeups.announce(run.pk, Ending("succeeded", outputs, "", "", timezone.now()))
    told = wakeups.wait(run.pk, 5.0)
    assert told is not None
    assert (told.values, told.ending.outputs) == (None, outputs)
    assert stored() == [refs[0].key.encode()]


def test_a_large_answer_is_told_as_json() -> None:
    size = LARGE_VALUES + 1
    run = answered(asked(taken=False), size)
    told = ask("GET", f"/api/runs/{run.pk}/outputs/").json()
    assert told["outputs"][0]["data"] == [7.0] * size
    assert told["parameters"] == {"run": str(run.pk)}


def test_a_large_request_has_a_large_answer_as_a_small_one_has(tmp_path: Path) -> None:
    """Both are JSON, and neither is built in this process."""
    publish("a")
    name = chain_model(tmp_path, "chain").name
    size = LARGE_VALUES + 4
    tensor = {"name": "x", "datatype": "FP32", "shape": [size // 4, 4], "data": [0.5] * size}
    body = json.dumps({"id": "ü", "inputs": [tensor]}).encode()
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask, "POST", f"/v2/models/{name}/infer", body)
        step = workers.claim(workers.wait_for_message("a", 60))
        assert step is not None
        sent = TensorRef.from_json(step.run.inputs["x"])
        (given,) = tensors.fetch([("x", sent)])
        assert decode_array(given).tolist() == [[0.5] * 4] * (size // 4)
        workers.answer(step, 7.0, size)
        told = asking.result()
    assert told.status == 200, told.body
    assert (told.json()["id"], told.json()["outputs"][0]["data"]) == ("ü", [7.0] * size)
    OnnxModel.objects.all().delete()


def test_on_an_event_loop_they_are_told_as_well() -> None:
    run = answered(asked(taken=True))
    refresh(run, asyncio.run(wakeups.wait_async(run.pk, 5.0)))
    release(run)
    assert values(collect(run)) == [[7.0]]


def test_where_others_may_ask_for_them_they_are_kept_and_not_told() -> None:
    run = wait_run(answered(asked(taken=False)))
    assert run.told is None and len(stored()) == 1
    assert values(collect(get_run(run.pk))) == values(collect(run, keep=False)) == [[7.0]]
    assert stored() == []


def test_who_learned_of_the_end_otherwise_finds_what_was_told() -> None:
    run = answered(asked(taken=True))
    refresh(run, None)
    assert run.told is None
    assert values(collect(run)) == values(collect(get_run(run.pk), keep=False)) == [[7.0]]


def announced_again(run: Run) -> None:
    endings.wake_waiters(timezone.now() - timedelta(seconds=60))


def heard_by_another(run: Run) -> None:
    assert wakeups.wait_any([run.pk], 5.0)


@pytest.mark.parametrize("also", [announced_again, heard_by_another])
def test_what_was_told_stands(also: Callable[[Run], None]) -> None:
    run = answered(asked(taken=True))
    also(run)
    assert values(collect(wait_run(run))) == [[7.0]]


def test_an_end_that_nobody_announced_is_announced_without_them_and_they_are_there() -> None:
    run = answered(asked(taken=False))
    client().delete(f"webpool:done:{run.pk}")
    announced_again(run)
    run = wait_run(run)
    assert run.told is None
    assert values(collect(run, keep=False)) == [[7.0]]


def test_large_ones_are_taken_from_the_store() -> None:
    count = tensors.SMALL // 4 + 1
    run = wait_run(answered(asked(taken=True), count))
    assert run.told is None and len(stored()) == 1
    (output,) = collect(run, keep=False)
    np.testing.assert_array_equal(decode_array(output), np.full(count, 7.0, np.float32))
    assert stored() == []
