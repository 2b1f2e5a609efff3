"""What one owner may have of the pool; the others get theirs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from browsers.redis import client
from inference.errors import Busy, InvalidRequest
from inference.models import OnnxModel, Plan, Run, RunState
from inference.runs.creation import RunRequest, create_run
from inference.store import tensors
from tests.support.batches import chain_model
from tests.support.ledger import publish


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    client().flushall()
    publish("a")
    yield chain_model(tmp_path, f"chain-{uuid.uuid4().hex[:6]}")
    Run.objects.all().delete()
    OnnxModel.objects.all().delete()
    client().config_set("maxmemory", "256mb")
    client().flushall()


def start(model: OnnxModel, owner: str, rows: int = 1, **options: Any) -> Run:
    x = tensors.encode_array("x", np.zeros((rows, 4), np.float32))
    return create_run(RunRequest(model=model.name, inputs=[x], owner=owner, **options))


def test_one_owner_fills_their_part_and_no_more(model: OnnxModel, settings: Any) -> None:
    settings.WEBPOOL_MAX_ACTIVE_RUNS, settings.WEBPOOL_MAX_RUNS_PER_OWNER = 4, 2
    for _ in range(2):
        start(model, "key greedy")
    with pytest.raises(Busy, match=r"2 runs of key greedy are active.*WEBPOOL_MAX_RUNS_PER_OWNER"):
        start(model, "key greedy")
    start(model, "key other")
    start(model, "anonymous")
    with pytest.raises(Busy, match="WEBPOOL_MAX_ACTIVE_RUNS"):
        start(model, "key third")


def test_callers_who_are_nobody_in_particular_share_all_of_it(
    model: OnnxModel, settings: Any
) -> None:
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 1
    for owner in ("anonymous", "anonymous", "command line", "batch x/1#1", "batch x/2#1"):
        start(model, owner)


def test_a_run_of_a_thousand_shards_is_refused_before_anything_is_cut(model: OnnxModel) -> None:
    for options in (
        {"strategy": "data", "shards": 1000},
        {"strategy": "layer", "shards": 2, "data_parallel": 200},
        {"strategy": "data", "shards": 200, "redundancy": "first"},
    ):
        with pytest.raises(InvalidRequest, match="WEBPOOL_MAX_SHARDS_PER_RUN"):
            start(model, "key greedy", rows=1000, **options)
    assert not Plan.objects.filter(model=model).exists()


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
    with pytest.raises(
        Busy, match=r"8 MB of it are outputs of key greedy.*WEBPOOL_MAX_STORED_SHARE"
    ):
        start(model, "key greedy")
    start(model, "key other")
    client().delete(ref.key)
    start(model, "key greedy")
