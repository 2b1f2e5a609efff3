"""What one owner may have of the pool; the others get theirs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from inference.catalog import plans
from inference.catalog.unused import forget_unused_plans
from inference.errors import Busy, InvalidRequest
from inference.models import OnnxModel, Plan
from inference.store.files import path_of
from tests.support.asking import only_chain, start


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    with only_chain(tmp_path) as chain:
        yield chain


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


def test_runs_of_batch_jobs_and_comparisons_count_for_who_asked_for_them(
    model: OnnxModel, settings: Any
) -> None:
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 3
    start(model, "batch x/1#1", tenant="key greedy")
    start(model, "comparison x#1", tenant="key greedy")
    start(model, "key greedy")
    refusal = r"3 runs of key greedy are active.*WEBPOOL_MAX_RUNS_PER_OWNER"
    for owner in ("key greedy", "batch x/2#1", "comparison x#2"):
        with pytest.raises(Busy, match=refusal):
            start(model, owner, tenant="key greedy")
    start(model, "batch y/1#1", tenant="key other")


def test_runs_of_batch_jobs_leave_half_to_runs_that_somebody_waits_for(
    model: OnnxModel, settings: Any
) -> None:
    settings.WEBPOOL_MAX_ACTIVE_RUNS, settings.WEBPOOL_MAX_RUNS_PER_OWNER = 6, 4
    for index in range(2):
        start(model, f"batch x/{index}#1", tenant="key greedy")
    with pytest.raises(Busy, match=r"batch jobs may have 3 active runs together.* 2, half of"):
        start(model, "batch x/2#1", tenant="key greedy")
    start(model, "batch y/0#1", tenant="command line")
    for tenant in ("key other", "command line", ""):
        with pytest.raises(Busy, match="half of WEBPOOL_MAX_ACTIVE_RUNS"):
            start(model, "batch z/0#1", tenant=tenant)
    for owner in ("key greedy", "key other", "anonymous"):
        start(model, owner)


def test_a_run_of_a_thousand_shards_is_refused_before_anything_is_cut(model: OnnxModel) -> None:
    for options in (
        {"strategy": "data", "shards": 1000},
        {"strategy": "layer", "shards": 2, "data_parallel": 200},
        {"strategy": "data", "shards": 200, "redundancy": "first"},
    ):
        with pytest.raises(InvalidRequest, match="WEBPOOL_MAX_SHARDS_PER_RUN"):
            start(model, "key greedy", rows=1000, **options)
    for shards, copies in ((1000, 1), (2, 200)):
        with pytest.raises(InvalidRequest, match="WEBPOOL_MAX_SHARDS_PER_RUN"):
            plans.asked_plan(model, "layer", shards, copies)
    assert not Plan.objects.filter(model=model).exists()


def test_one_owner_has_so_many_plans_cut_by_asking_or_by_running(
    model: OnnxModel, settings: Any
) -> None:
    settings.WEBPOOL_MAX_PLANS_PER_OWNER = 2
    start(model, "key greedy", strategy="layer", shards=2)
    plans.asked_plan(model, "layer", 3, tenant="key greedy")
    refusal = r"2 plans were cut for key greedy.*WEBPOOL_MAX_PLANS_PER_OWNER"
    for owner, tenant in (("key greedy", ""), ("batch x/1#1", "key greedy")):
        with pytest.raises(Busy, match=refusal):
            start(model, owner, tenant=tenant, strategy="layer", shards=4)
    with pytest.raises(Busy, match=refusal):
        plans.asked_plan(model, "layer", 4, tenant="key greedy")
    for shards in (2, 3):
        start(model, "key greedy", strategy="layer", shards=shards)
    start(model, "key greedy", rows=2, strategy="data", shards=2)
    start(model, "key other", strategy="layer", shards=4)
    start(model, "key greedy", strategy="layer", shards=4)


def test_plans_that_no_run_uses_are_forgotten_with_their_files_and_cut_again(
    model: OnnxModel,
) -> None:
    used = start(model, "anonymous", strategy="layer", shards=2)
    unused = plans.asked_plan(model, "layer", 3)
    old = timezone.now() - timedelta(days=30)
    Plan.objects.filter(model=model).update(created_at=old)
    fresh = plans.asked_plan(model, "layer", 4)
    files = {step.sha256 for step in plans.steps_of(unused)}
    shared = {step.sha256 for plan in (used.plan, fresh) for step in plans.steps_of(plan)}
    plans.cached_plan(model, "layer", 3)
    assert forget_unused_plans(timezone.now()) == 1
    assert set(Plan.objects.filter(model=model)) == {used.plan, fresh}
    assert all(path_of(sha256).exists() == (sha256 in shared) for sha256 in files | shared)
    again = start(model, "anonymous", strategy="layer", shards=3)
    assert again.plan != unused
    assert all(path_of(step.sha256).exists() for step in plans.steps_of(again.plan))
