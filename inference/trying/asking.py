"""Run what a person gave, wait for it, and tell what came out, where each shard ran, and how long it took."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from typing import Final

from inference.catalog import expectations
from inference.documents import JsonObject, JsonView
from inference.errors import Busy
from inference.models import OnnxModel
from inference.runs.creation import RunRequest, infer
from inference.runs.metrics import run_metrics
from inference.sandbox import Places
from inference.store.tensors import WireTensor, decode_array
from inference.trying.fields import fields
from inference.trying.inputs import Given, prepared
from inference.trying.showing import shown

# Each of them holds a thread of the web server, and its connection to the database.
_WAITING_AT_MOST: Final = 16
_waiting = threading.BoundedSemaphore(_WAITING_AT_MOST)
_COME_BACK_S: Final = 5.0
# A file is held as it came, as arrays and as tensors, which a packed one of few bytes may have many of.
_LARGE: Final = Places("a model tried with a file", 8, each=2)
_SMALL_BYTES: Final = 2**20
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


@dataclasses.dataclass(frozen=True)
class Tried:
    """A run that was waited for.

    Attributes:
        inputs: the tensors that were sent.
        told: what came out, where each shard ran and how long, as JSON can say it.
    """

    inputs: Sequence[WireTensor]
    told: JsonObject


def tried(model: OnnxModel, given: Given, wishes: JsonView, owner: str) -> Tried:
    """One run, waited for.

    Raises:
        Busy: as many wait like this as may, of all or of this owner.
        WebpoolError: what was given is refused, or the run failed.
    """
    if not _waiting.acquire(blocking=False):
        raise Busy(
            f"{_WAITING_AT_MOST} models are being tried; send it again later, or start a run",
            retry_after_s=_COME_BACK_S,
        )
    try:
        with contextlib.nullcontext() if _is_small(given) else _LARGE.taken():
            return _tried(model, given, wishes, owner)
    finally:
        _waiting.release()


def _is_small(given: Given) -> bool:
    """Whether it is text alone, and little of it."""
    return (
        not given.files
        and len(given.tensors) <= _SMALL_BYTES
        and not given.tensors.startswith(b"PK")
    )


def _tried(model: OnnxModel, given: Given, wishes: JsonView, owner: str) -> Tried:
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
    told = {
        "run": str(run.pk),
        "took_ms": metrics["inference_time_ms"],
        "filled_in": ready.filled_in,
        "shards": [{key: one[key] for key in _OF_A_SHARD} for one in metrics["shards"]],
        "outputs": [shown(one.name, decode_array(one), expected) for one in outputs],
    }
    return Tried(ready.tensors, told)
