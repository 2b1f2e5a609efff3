"""Comparisons that run in a test, which plays the part of two browsers' workers with onnxruntime."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.utils import timezone

from browsers.core.failures import Category
from browsers.models import BackendProof, Browser
from browsers.redis import client
from inference.catalog import plans
from inference.comparisons import engine
from inference.comparisons.asking import Asked
from inference.graph.reference import reference
from inference.ledger import claims, joins, results
from inference.ledger.attempts import AttemptFacts
from inference.models import (
    Comparison,
    ComparisonCell,
    ComparisonState,
    OnnxModel,
    Run,
    RunStep,
    StepKind,
    StepState,
)
from inference.store import tensors
from inference.store.files import path_of
from tests.support.ledger import publish

VERSIONS = {"a": "1.0", "b": "2.0"}


@contextlib.contextmanager
def two_browsers() -> Iterator[None]:
    """A pool of a and b with wasm alone; at the end all rows are gone."""
    client().flushall()
    for browser in VERSIONS:
        backends = [
            {"name": "webgpu", "error": "no adapter here", "adapter": None, "software": None}
        ]
        Browser.objects.create(
            id=browser, kind=f"kind-{browser}", family="chromium", backends=backends
        )
        publish(browser, kind=f"kind-{browser}")
    yield
    for rows in (Comparison, Run, OnnxModel, Browser, BackendProof):
        rows.objects.all().delete()
    plans.clear_cache()
    client().flushall()


def asked(model: OnnxModel, **more: Any) -> Asked:
    return Asked(model=model.name, **{"runs": 3, "seed": 7, "backends": ("wasm",), **more})


def advance(comparison: Comparison) -> uuid.UUID | None:
    return engine.advance(comparison.pk, timezone.now())


def answer(*, compute_ms: float = 5.0, off: float = 0.0, warm: bool | None = None) -> str:
    """Do what the browser's worker does with the run in flight, shard after shard; returns the browser."""
    turns = ComparisonCell.objects.get(pk__in=Comparison.objects.values("turn_cell")).turns
    seen: set[str] = set()
    browser = ""
    while row := queued().first():
        if row.kind == StepKind.JOIN:
            assert joins.execute(row.pk, row.fence)
            continue
        shard = claims.claim(row.pk, row.fence, timezone.now())
        assert shard is not None
        given = {t.name: tensors.decode_array(t) for t in tensors.fetch(claims.input_refs(shard))}
        file = shard.plan_step.sha256
        made = reference(path_of(file), given)
        made = {name: array + np.float32(off) for name, array in made.items()}
        refs = tensors.store(shard.run_id, [tensors.encode_array(*item) for item in made.items()])
        cold = turns == 0 and file not in seen
        facts = AttemptFacts(
            shard.browser, timezone.now(), browser_version=VERSIONS[shard.browser], backend="wasm",
            warm=not cold if warm is None else warm, load_ms=40.0 if cold else None,
            compute_ms=compute_ms, memory_mb=100.0 + turns, nodes={"CPUExecutionProvider": 4},
        )  # fmt: skip
        assert results.record_success(shard, dict(zip(made, refs, strict=True)), facts)
        seen.add(file)
        browser = shard.browser
    return browser


def queued() -> Any:
    """Shards of the run in flight that wait for their browser."""
    rows = RunStep.objects.filter(run__owner__startswith="comparison ", state=StepState.QUEUED)
    return rows.order_by("index")


def fail(category: Category, message: str) -> None:
    row = queued().first()
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    results.record_failure(shard, category, message, AttemptFacts(shard.browser, timezone.now()))


def finish(comparison: Comparison, **answers: dict[str, Any]) -> list[str]:
    """Until it has ended; `answers` by browser. Returns who computed, in order."""
    order = []
    while advance(comparison) is not None:
        (browser,) = {shard.browser for shard in queued()}
        order.append(browser)
        answer(**answers.get(browser, {}))
    comparison.refresh_from_db()
    assert comparison.state == ComparisonState.FINISHED
    return order


def cell(comparison: Comparison, browser: str, backend: str = "wasm") -> ComparisonCell:
    return comparison.cells.get(browser=browser, backend=backend)
