"""Triton's ensemble as a manifest: a model configuration (config.pbtxt written as JSON).

    {"name": "clip", "platform": "ensemble", "max_batch_size": 0,
     "input": [{"name": "ids", "data_type": "TYPE_INT64", "dims": [-1, -1]}], "output": […],
     "ensemble_scheduling": {"step": [
       {"model_name": "text", "model_version": -1, "input_map": {"input_ids": "ids"},
        "output_map": {"pooled": "text_pooled"}}, …]}}

As in Triton, ports that no map names are not connected, and what is declared of the inputs and outputs must
be so. With `max_batch_size` above 0 the declared dimensions lack the batch, which is the first one.
"""

from __future__ import annotations

from collections import Counter

from inference.documents import JsonObject
from inference.graph.ensemble.declared import (
    Declared,
    Entry,
    InvalidManifest,
    Manifest,
    check_names,
    names,
    only,
    text,
)

_KEYS = (
    "name", "platform", "backend", "version_policy", "max_batch_size", "input", "output",
    "ensemble_scheduling", "parameters",
)  # fmt: skip
_STEP_KEYS = ("model_name", "model_version", "input_map", "output_map")
_PORT_KEYS = ("name", "data_type", "dims", "optional")
_DTYPES = {
    "TYPE_BOOL": "bool", "TYPE_STRING": "string", "TYPE_FP16": "float16", "TYPE_FP32": "float32",
    "TYPE_FP64": "float64", "TYPE_BF16": "bfloat16",
    **{f"TYPE_{u}INT{bits}": f"{u.lower()}int{bits}" for u in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def is_ensemble(document: object) -> bool:
    return isinstance(document, dict) and "ensemble_scheduling" in document


def parse_ensemble(document: JsonObject) -> Manifest:
    """Translate a configuration; a model that is used twice gives components `m` and `m-2`.

    Raises:
        InvalidManifest: the first thing that is wrong.
    """
    only(document, _KEYS, "the configuration")
    if document.get("platform", "ensemble") != "ensemble":
        raise InvalidManifest(f"platform: expected 'ensemble', got {document['platform']!r:.80}")
    scheduling = document["ensemble_scheduling"]
    steps = scheduling.get("step") if isinstance(scheduling, dict) else None
    if not isinstance(steps, list) or not steps:
        raise InvalidManifest("ensemble_scheduling: expected {'step': […]} with at least one step")
    used: Counter[str] = Counter()
    entries = tuple(_entry(step, at, used) for at, step in enumerate(steps))
    batch = document.get("max_batch_size", 0)
    if type(batch) is not int or batch < 0:
        raise InvalidManifest(f"max_batch_size: expected a whole number from 0, got {batch!r:.80}")
    return Manifest(
        check_names(entries),
        _ports(document, "input", batched=batch > 0),
        _ports(document, "output", batched=batch > 0),
        by_name=False,
    )


def _entry(step: object, at: int, used: Counter[str]) -> Entry:
    where = f"step {at + 1}"
    if not isinstance(step, dict):
        raise InvalidManifest(f'{where}: expected an object with "model_name", got {step!r:.80}')
    only(step, _STEP_KEYS, where)
    model = text(step, "model_name", where)
    if step.get("model_version", -1) not in (-1, 1, "-1", "1"):
        raise InvalidManifest(
            f"{where}: model_version {step['model_version']!r:.20}: models have version 1 only; "
            "write -1 or leave it out"
        )
    used[model] += 1
    return Entry(
        model if used[model] == 1 else f"{model}-{used[model]}",
        model,
        names(step.get("input_map"), f"{where}, input_map"),
        names(step.get("output_map"), f"{where}, output_map"),
    )


def _ports(document: JsonObject, key: str, *, batched: bool) -> tuple[Declared, ...]:
    items = document.get(key)
    if not isinstance(items, list) or not items:
        raise InvalidManifest(f"{key}: an ensemble declares at least one, got {items!r:.80}")
    ports = tuple(_port(item, f"{key} {at + 1}", batched) for at, item in enumerate(items))
    twice = [name for name, count in Counter(port.name for port in ports).items() if count > 1]
    if twice:
        raise InvalidManifest(f"{key}: {twice[0]!r} is listed twice")
    return ports


def _port(item: object, where: str, batched: bool) -> Declared:
    if not isinstance(item, dict):
        raise InvalidManifest(f"{where}: expected an object with name, data_type and dims")
    only(item, _PORT_KEYS, where)
    name, data_type = text(item, "name", where), text(item, "data_type", where)
    if data_type not in _DTYPES:
        raise InvalidManifest(f"{where}: data_type {data_type!r}: expected {', '.join(_DTYPES)}")
    dims = item.get("dims")
    try:
        # Protobuf writes 64-bit numbers as strings in JSON.
        shape = tuple(int(size) for size in dims if isinstance(size, (int, str)))  # type: ignore[union-attr]
    except (TypeError, ValueError):
        shape = ()
    if not isinstance(dims, list) or len(shape) != len(dims) or any(size < -1 for size in shape):
        raise InvalidManifest(f"{where}: dims: expected sizes, -1 for any, got {dims!r:.80}")
    return Declared(name, name, _DTYPES[data_type], (-1, *shape) if batched else shape)
