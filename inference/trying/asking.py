"""Run what a person gave, wait for it, and tell what came out, where each shard ran, and how long it took."""

from __future__ import annotations

from inference.catalog import expectations
from inference.documents import JsonObject, JsonView
from inference.models import OnnxModel
from inference.runs.creation import RunRequest, infer
from inference.runs.metrics import run_metrics
from inference.store.tensors import decode_array
from inference.trying.fields import fields
from inference.trying.inputs import Given, prepared
from inference.trying.showing import shown

_OF_A_SHARD = (
    "index",
    "group",
    "browser",
    "browser_version",
    "backend",
    "adapter",
    "load_ms",
    "compute_ms",
)


def tried(model: OnnxModel, given: Given, wishes: JsonView, owner: str) -> JsonObject:
    """One run, waited for.

    Raises:
        WebpoolError: what was given is refused, or the run failed.
    """
    ready = prepared(model, fields(model), given, owner)
    request = RunRequest(
        model=model.name,
        inputs=ready.tensors,
        filled_in=tuple(ready.filled_in),
        owner=owner,
        **wishes,
    )
    run, outputs = infer(request)
    metrics = run_metrics(run)
    expected = expectations.of_model(model)
    return {
        "run": str(run.pk),
        "took_ms": metrics["inference_time_ms"],
        "filled_in": ready.filled_in,
        "shards": [{key: one[key] for key in _OF_A_SHARD} for one in metrics["shards"]],
        "outputs": [shown(one.name, decode_array(one), expected) for one in outputs],
    }
