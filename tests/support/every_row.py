"""A row in every table that the admin shows; and numbers in all of them that nobody wants to read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import FloatField, JSONField, Model
from django.utils import timezone

from browsers.models import BackendProof, Incident, PoolAction, PoolEvent
from history.models import BrowserRecommendation, CapabilityScore, Regression
from inference import auth
from inference.catalog import registry
from inference.core.comparisons.cells import CellState
from inference.models import (
    Attempt,
    AuditEntry,
    Comparison,
    ComparisonCell,
    OnnxModel,
    Outcome,
    PlanStep,
    Run,
    RunState,
)
from inference.models.batches import Batch
from tests.support import decoders
from tests.support.batches import chain_model, new_job
from tests.support.comparisons import comparison_row
from tests.support.ledger import make_run

UGLY: Final = 85.94410956242984
_LONG: Final = "no kernel for MatMul: " + 60 * "long"
# Documents that the program reads itself before it shows them: they are left as they are.
_READ: Final = {
    "inputs", "outputs", "prediction", "batch_axis", "components", "expectations", "reference", "summary",
    "decoder", "doubt", "join", "nodes", "shards", "usual", "stage",
}  # fmt: skip
_DOCUMENT: Final = {
    "few_ms": UGLY,
    "missing": None,
    "deep": 9 * [{"compute_ms": UGLY, "gone": None}],
}


def make_rows(run: Run, folder: Path, *, owner: str) -> Comparison:
    """What there is beside a browser `firefox` and a run; returns the comparison, of the run's model."""
    now = timezone.now()
    for outcome, error in ((Outcome.FAILED, _LONG), (Outcome.SUCCEEDED, "")):
        Attempt.objects.create(
            shard=run.shards.all()[0], number=1, outcome=outcome, browser="firefox", error=error,
            backend="wasm", nodes={"CPUExecutionProvider": 7}, compute_ms=5.0, started_at=now,
            finished_at=now,
        )  # fmt: skip
    ended = [(RunState.SUCCEEDED, 1), (RunState.SUCCEEDED, 9), (RunState.FAILED, 3)]
    for state, minutes in ended:
        other = make_run()
        at = now - timedelta(minutes=minutes)
        error = _LONG if state == RunState.FAILED else ""
        Run.objects.filter(pk=other.pk).update(
            state=state, created_at=at, finished_at=now, error=error
        )
    _make_rows_of_browsers(run.model)
    _make_rows_of_people(owner)
    files = decoders.write(folder)
    registry.add_model(files.onnx, name="writer", tokenizer=files.tokenizer)
    new_job(chain_model(folder, "chained"), folder)
    return _compared(run.model, owner)


def _make_rows_of_browsers(model: OnnxModel) -> None:
    for helped in (True, False, None):
        Incident.objects.create(
            browser_id="firefox", category="browser_crash", message=_LONG, rung="restart", repaired=helped
        )  # fmt: skip
    PoolEvent.objects.create(
        action=PoolAction.GREW, browser="firefox", kind="firefox", reason="much work", browsers=3,
        memory_used_percent=40.0,
    )  # fmt: skip
    BackendProof.objects.create(
        sha256=model.sha256, kind="firefox", version="157", runtime="r", host="h", backend="webgpu",
        verdict="wrong", reason="t1 differs by 0.5",
    )  # fmt: skip


def _make_rows_of_people(owner: str) -> None:
    AuditEntry.objects.create(
        door="admin", who=owner, action="drain", target="browser firefox", done=True
    )
    auth.create_key("somebody")
    Group.objects.create(name="operators")


def _compared(model: OnnxModel, owner: str) -> Comparison:
    """One that ended, a cell of each outcome, the same once before."""
    for _ in range(2):
        made = comparison_row(model, owner=owner)
        states = [CellState.MEASURED, CellState.WRONG, CellState.FAILED, CellState.UNTRIED]
        for at, state in enumerate(states, 1):
            ComparisonCell.objects.create(
                comparison=made, index=at, browser=f"b{at}", kind="b", version="1",
                backend="webgpu", strategy="none", state=state, reason="" if at == 1 else _LONG,
                samples=[1.0, 2.0, 3.0] if at < 3 else [],
                nodes={"WebGpuExecutionProvider": 3} if at < 3 else {},
            )  # fmt: skip
        Comparison.objects.filter(pk=made.pk).update(
            state="finished", ended_at=timezone.now(), turn_cell=None
        )
    return made


def make_history() -> None:
    """What is published, without the measurements that it would follow from."""
    now = timezone.now()
    BrowserRecommendation.objects.create(
        timestamp=now, model_type="text", recommended_browser="firefox", confidence=0.9,
        sample_size=3, based_on="model",
    )  # fmt: skip
    CapabilityScore.objects.create(
        timestamp=now, browser="firefox", model_type="text", score=1, confidence=1, sample_size=3,
        low=0, high=1,
    )  # fmt: skip
    Regression.objects.create(
        browser="firefox", model_type="text", model_name="m", platform="wasm", from_build="1",
        to_build="2", opened_at=now, severity="low", p_value=1e-9, change_ratio=1.5, sample_size=3,
    )  # fmt: skip


def make_ugly() -> None:
    """Long numbers in every table that a page shows, and nulls in the first row of each."""
    for model in _shown():
        first = model._default_manager.order_by("pk").first()
        assert first is not None, f"no row of {model} to look at"
        for row in model._default_manager.all():
            changed = {
                field.name: _ugly_number(field, row == first)
                if isinstance(field, FloatField)
                else _ugly_document(getattr(row, field.name))
                for field in model._meta.concrete_fields
                if isinstance(field, FloatField | JSONField) and field.name not in _READ
            }
            if changed:
                model._default_manager.filter(pk=row.pk).update(**changed)
    expected = {"predicted_ms": UGLY, "steps": [{"index": 0, "compute_ms": UGLY, "load_ms": None}]}
    Run.objects.update(prediction=expected)


def _shown() -> set[type[Model]]:
    admin.autodiscover()  # as the first request does
    return {*admin.site._registry, Incident, Batch, ComparisonCell, PlanStep}


def _ugly_number(field: FloatField[Any, Any], first: bool) -> float | None:
    return None if field.null and first else UGLY


def _ugly_document(value: Any) -> Any:
    """Of the same form, with other numbers in it; one that is empty is given all there is."""
    if isinstance(value, dict) and value:
        return {
            key: _ugly_document(item) if item is not None else None for key, item in value.items()
        }
    if isinstance(value, list):
        return [_ugly_document(item) for item in value]
    if isinstance(value, float):
        return UGLY
    return _DOCUMENT if value is None or value == {} else value
