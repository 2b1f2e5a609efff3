"""What one owner may hold of the tensor store once it is short."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import redis.exceptions
from django.db import connection
from django.utils import timezone

from browsers.redis import client
from inference.catalog import registry
from inference.errors import Busy
from inference.ledger import endings
from inference.models import OnnxModel, Run, RunState
from inference.runs.creation import RunRequest, create_run
from inference.store import tensors, transactions
from inference.store.inputs import inputs_of
from tests.support.asking import ROWS_PER_MB, only_chain, start
from tests.support.loops import until


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    with only_chain(tmp_path) as chain:
        yield chain
    client().config_set("maxmemory", "256mb")


def stored() -> list[Any]:
    return list(client().scan_iter("webpool:tensor:*"))


def _are_stored(count: int) -> bool:
    return len(stored()) == count


def test_outputs_that_nobody_fetches_stop_their_owner_once_the_store_is_short(
    model: OnnxModel,
) -> None:
    run = start(model, "key greedy")
    (ref,) = tensors.store(run.pk, [tensors.encode_array("y", np.zeros(2 * 2**20, np.float32))])
    Run.objects.filter(pk=run.pk).update(
        state=RunState.SUCCEEDED, finished_at=timezone.now(), outputs={"y": ref.to_json()}
    )
    start(model, "key greedy")
    client().config_set("maxmemory", str(client().info("memory")["used_memory"] + 2 * 2**20))
    refusal = r"8 MB of it are outputs of key greedy.*WEBPOOL_MAX_STORED_SHARE"
    with pytest.raises(Busy, match=refusal):
        late = time.monotonic() + 10  # a store that had enough is looked at again within a second
        while time.monotonic() < late:
            start(model, "key greedy").delete()
    start(model, "key other")
    client().delete(ref.key)
    start(model, "key greedy")


@pytest.mark.parametrize("owner", ["key greedy", "batch x/1#1"])
def test_inputs_of_active_runs_stop_their_tenant_once_the_store_is_short(
    model: OnnxModel, owner: str
) -> None:
    client().config_set("maxmemory", "64mb")
    rows, refusal = (
        17 * ROWS_PER_MB,
        r"17 MB.*inputs of their active runs.*WEBPOOL_MAX_STORED_SHARE",
    )
    run = start(model, owner, rows, tenant="key greedy")
    with pytest.raises(Busy, match=refusal):
        start(model, "key greedy", rows)
    assert len(stored()) == 1, "nothing is stored of what is refused"
    start(model, "key other", 2 * ROWS_PER_MB)
    endings.cancel(run.pk, "nobody wants it")
    start(model, "key greedy", rows)


def test_who_holds_nothing_may_have_one_run_however_large(model: OnnxModel) -> None:
    client().config_set("maxmemory", "48mb")
    start(model, "anonymous", 14 * ROWS_PER_MB)
    start(model, "key greedy", 13 * ROWS_PER_MB)


def test_many_at_once_do_not_all_have_the_same_room(model: OnnxModel) -> None:
    client().config_set("maxmemory", "48mb")
    start(model, "anonymous")  # the plan is there

    def ask() -> Run | Busy:
        try:
            return start(model, "key greedy", 8 * ROWS_PER_MB)
        except Busy as busy:
            return busy
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        asked: list[Future[Run | Busy]] = []
        with transactions.alone("admission"):
            for count in (2, 3):
                asked.append(threads.submit(ask))
                until(functools.partial(_are_stored, count))
        answers = [each.result() for each in asked]
    assert {type(answer) for answer in answers} == {Busy, Run}
    assert len(stored()) == 2, "what was stored of the refused one is freed"


def test_an_input_that_is_not_split_is_stored_once_for_all_parts(
    model: OnnxModel, tmp_path: Path
) -> None:
    add = onnx.helper.make_node("Add", ["x", "k"], ["y"])
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (*rows, 4))
        for name, rows in (("x", ["batch"]), ("k", []), ("y", ["batch"]))
    ]
    graph = onnx.helper.make_graph([add], "add", ports[:2], ports[2:])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "a.onnx"
    )
    added = registry.add_model(tmp_path / "a.onnx", name="add")
    inputs = [
        tensors.encode_array(name, np.ones(shape, np.float32))
        for name, shape in (("x", (3, 4)), ("k", (4,)))
    ]
    asked = RunRequest(model=added.name, inputs=inputs, strategy="data", shards=3)
    run = create_run(asked)
    named = {name: [ref.key for ref in it.refs] for name, it in inputs_of(run).items()}
    assert {name: len(set(keys)) for name, keys in named.items()} == {"x": 3, "k": 1}
    assert len(named["k"]) == 3
    assert len(stored()) == 4


def test_what_a_full_store_refuses_in_its_middle_leaves_nothing_there(model: OnnxModel) -> None:
    client().config_set("maxmemory", str(client().info("memory")["used_memory"] + 14 * 2**20))
    piece = tensors.encode_array("y", np.zeros(2**20, np.float32))
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        tensors.store(uuid.uuid4(), [piece] * 8)
    assert not stored()
