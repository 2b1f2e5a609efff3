"""What the page of a run says of it: what went wrong, the outputs, who computed it, the times."""

from __future__ import annotations

import redis.exceptions

from inference.documents import JsonObject
from inference.models import Run, RunState
from inference.runs.metrics import milliseconds, run_metrics
from inference.runs.timeline import timeline
from inference.store import tensors
from inference.store.tensors import TensorRef
from webpool_site.telling import units

FIRST_VALUES = 8


def told(run: Run) -> JsonObject:
    """Template context of templates/inference/run.html."""
    metrics = run_metrics(run)
    return {
        "run": run,
        "took_ms": metrics["inference_time_ms"],
        "shards": metrics["shards"],
        "joins": metrics["joins"],
        "troubles": [
            {"shard": shard["index"], **event}
            for shard in metrics["shards"]
            for event in shard["recovery_events"]
        ],
        "outputs": _with_values(run) if run.state == RunState.SUCCEEDED else [],
        "inputs": [_port(name, TensorRef.from_json(ref)) for name, ref in run.inputs.items()],
        "timeline": timeline(run),
        "allowed_ms": milliseconds(run.created_at, run.deadline_at),
    }


def _with_values(run: Run) -> list[JsonObject]:
    """Each output; `values` are its first ones in words, "" where the store has given the tensor up."""
    refs = {name: TensorRef.from_json(ref) for name, ref in run.outputs.items()}
    try:
        peeked = tensors.peek(list(refs.values()), FIRST_VALUES)
        unknown = ""
    except redis.exceptions.RedisError:
        peeked = [None] * len(refs)
        unknown = "unknown: Redis does not answer"
    return [
        {
            **_port(name, ref),
            "kept": values is not None,
            "values": unknown if values is None else _listed(values, ref),
        }
        for (name, ref), values in zip(refs.items(), peeked, strict=True)
    ]


def _port(name: str, ref: TensorRef) -> JsonObject:
    shape = " × ".join(map(str, ref.shape)) or "one value"
    return {"name": name, "dtype": ref.dtype, "shape": shape, "bytes": ref.nbytes}


def _listed(values: list[object], ref: TensorRef) -> str:
    if not values:
        return "no values"
    count = 1
    for extent in ref.shape:
        count *= extent
    return ", ".join(map(_value, values)) + (", …" if count > len(values) else "")


def _value(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return units.number(value) if isinstance(value, float) else str(value)
