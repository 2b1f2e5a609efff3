"""Loads of model files, failures included, on their way into history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browsers import clock
from history import recording
from history.core.samples import Kind, Observation
from inference.models import OnnxModel, PlanStep

if TYPE_CHECKING:
    from browsers.session import LoadEvent
    from browsers.worker import BrowserWorker


def record_load(worker: BrowserWorker, event: LoadEvent) -> None:
    """Commit how a load went; a file that no model names any more is not recorded."""
    found = _model_of(event.model_sha256)
    if found is None:
        return
    model, model_type = found
    facts = worker.session.facts
    recording.put(
        [
            Observation(
                source="",
                source_id=0,
                kind=Kind.LOAD,
                timestamp=clock.now().replace(tzinfo=None),
                browser=worker.kind,
                model_type=model_type,
                model_name=model.name,
                platform=event.backend,
                memory_mb=worker.memory_mb,
                success=event.error_category is None,
                error_type=event.error_category,
                browser_id=worker.id,
                family=facts.family if facts else None,
                host=facts.host if facts else None,
                browser_version=facts.version if facts else None,
                driver_version=facts.driver_version if facts else None,
                adapter=event.adapter,
                software=event.software,
                work=event.model_sha256,
                bytes_in=event.bytes,
                load_ms=event.load_ms,
                extra={
                    "fetch_ms": event.fetch_ms,
                    "bundle": event.bundle,
                    "nodes": dict(event.nodes),
                    "evicted": list(event.evicted),
                    "error": event.error[:500] if event.error else None,
                },
            )
        ]
    )


def _model_of(sha256: str) -> tuple[OnnxModel, str] | None:
    """The model that a file belongs to, and what the file does."""
    shards = PlanStep.objects.filter(sha256=sha256).select_related("plan__model")
    shard = shards.defer("plan__model__summary").first()
    if shard is not None:
        return shard.plan.model, shard.work_type or shard.plan.model.model_type
    model = OnnxModel.objects.filter(sha256=sha256).defer("summary").first()
    return (model, model.model_type) if model else None
