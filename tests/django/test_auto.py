"""Strategy auto: the fastest feasible way, explained, from what this pool measured."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from browsers.redis import client
from browsers.state.live import LiveModel
from inference.catalog import plans, registry
from inference.core import costs
from inference.errors import InvalidRequest
from inference.models import OnnxModel, Run, RunState, RunStep, StepState
from inference.runs import auto
from inference.scheduling.pool_view import snapshot
from inference.zoo import micro
from tests.support.ledger import publish

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    auto.hop_rates.cache_clear()
    yield
    client().flushall()


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    return registry.add_model(micro.chain(tmp_path / "chain.onnx"), name="auto-chain")


def measured(model: OnnxModel, ms: float) -> dict[str, LiveModel]:
    return {model.sha256: LiveModel("wasm", model.file_bytes, ms, ms / 8)}


def test_a_slow_model_is_split_by_its_batch_and_a_fast_one_is_not(model: OnnxModel) -> None:
    for browser in ("a", "b"):
        publish(browser, loaded=measured(model, 200.0))
    slow = auto.decide(model, snapshot(), rows=8)
    assert (slow.strategy, slow.shards) == ("data", 2)
    assert slow.explanation["hop_samples"] == 0
    assert {way["strategy"] for way in slow.explanation["considered"]} == {"none", "data"}
    for browser in ("a", "b"):
        publish(browser, loaded=measured(model, 1.0))
    assert auto.decide(model, snapshot(), rows=8).strategy == "none"
    assert auto.decide(model, snapshot(), rows=None).strategy == "none"


def test_a_model_that_no_browser_can_hold_is_cut_into_the_fewest_layers_that_fit(
    model: OnnxModel,
) -> None:
    whole_mb = model.weight_bytes * 3.7 / 1e6
    for browser in ("a", "b"):
        publish(browser, memory_limit_mb=whole_mb * 0.8)
    decision = auto.decide(model, snapshot())
    assert (decision.strategy, decision.shards) == ("layer", 2)
    assert decision.data_parallel == 1
    reasons = {way["strategy"]: way["reason"] for way in decision.explanation["considered"]}
    assert "short" in reasons["none"]


def test_a_slow_batch_goes_over_copies_of_the_layers_where_whole_fits_nowhere(
    model: OnnxModel,
) -> None:
    whole_mb = model.weight_bytes * 3.7 / 1e6
    _, layers = plans.cached_plan(model, "layer", 2)
    loaded = {layer.sha256: LiveModel("wasm", layer.file_bytes, 400.0, 50.0) for layer in layers}
    for browser in "abcd":
        publish(browser, memory_limit_mb=whole_mb * 0.8, loaded=loaded)
    decision = auto.decide(model, snapshot(), rows=8)
    assert (decision.strategy, decision.shards, decision.data_parallel) == ("layer", 2, 2)
    assert auto.decide(model, snapshot(), rows=1).data_parallel == 1


def test_what_hops_and_joins_took_is_measured_apart(model: OnnxModel) -> None:
    assert auto.hop_rates(1) == costs.Rates()
    plan, (part, *_, join) = plans.cached_plan(model, "data", 2)
    now = timezone.now()
    run = Run.objects.create(
        model=model, plan=plan, state=RunState.SUCCEEDED, max_retries=1, inputs={}, created_at=now,
        deadline_at=now, finished_at=now,
    )  # fmt: skip
    for step, ms in ((part, 50), (join, 12)):
        RunStep.objects.create(
            run=run, plan_step=step, index=step.index, kind=step.kind, state=StepState.DONE,
            ready_at=now, finished_at=now + timedelta(milliseconds=ms),
        )  # fmt: skip
    rates = auto.hop_rates(2)
    assert rates.join_ms == pytest.approx(12.0)
    assert rates.join_samples == 1
    assert (rates.hop_ms, rates.hop_samples) == (costs.DEFAULT_HOP_MS, 0)


def test_a_model_that_fits_in_no_way_is_refused_with_every_reason(model: OnnxModel) -> None:
    publish("a", memory_limit_mb=1e-6)
    with pytest.raises(InvalidRequest, match=r"fits this pool in no way: none×1: .*short"):
        auto.decide(model, snapshot())
