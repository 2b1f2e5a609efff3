"""Ask native onnxruntime, in the sandbox, whether a failed computation's file or inputs were the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from django.db import DatabaseError

from browsers.core.errors import BrowserError, Judged
from browsers.core.failures import Category
from browsers.session.residents import FileUnusable
from browsers.state import breakers
from inference import sandbox
from inference.core.bad_inputs import Native, Said, suspect
from inference.core.bad_inputs import judged as by_others
from inference.graph.files import InvalidModel
from inference.models import Attempt, Outcome, RunStep
from inference.scheduling.wishes import asked_of
from inference.store.files import path_of
from inference.store.paths import without_paths
from inference.store.tensors import WireTensor, decode_array

log = logging.getLogger(__name__)
_WASM: Final = "wasm"
_MOST_BYTES: Final = 1_000_000_000  # of a file: it is in memory several times while it is tried
_MOST_S: Final = 30.0


def judged(shard: RunStep, inputs: Sequence[WireTensor], error: BrowserError) -> Judged:
    """What a failure counts as for the shard: its browser's, or nobody's who could have done it."""
    failed = Said(shard.browser, error.category, without_paths(str(error)))
    tried = Attempt.objects.filter(shard=shard, outcome__in=(Outcome.FAILED, Outcome.LOST))
    earlier = [
        Said(browser, Category.of(category), message)
        for browser, category, message in tried.order_by("pk").values_list(
            "browser", "error_category", "error"
        )
    ]
    if isinstance(error, FileUnusable) or not suspect(failed, earlier):
        return error.judged
    native, reason = _native(shard, inputs)
    asked = asked_of(shard.run).for_shard(shard.index).platform
    if native is Native.TAKES and asked not in ("", _WASM):
        earlier = []  # two browsers' same backend says nothing of what wasm could do
    return by_others(failed, earlier, native, reason)


def count_refusals(shard: RunStep) -> None:
    """Of a shard that was computed: what other browsers refused of it counts against the file there.

    Whether such a browser is well it is asked itself (`browsers.worker.watch`).
    """
    if shard.attempts < 2:
        return
    try:
        refused = Attempt.objects.filter(shard=shard, error_category=Category.REFUSED)
        others = set(refused.exclude(browser=shard.browser).values_list("browser", flat=True))
    except DatabaseError as error:
        log.warning("who refused shard %s before is not known: %s", shard, error)
        return
    for browser in others:
        breakers.failed(browser, Category.UNSUPPORTED_OPERATION, sha256=shard.plan_step.sha256)


def _native(shard: RunStep, inputs: Sequence[WireTensor]) -> tuple[Native, str]:
    path = path_of(shard.plan_step.sha256)
    if shard.plan_step.file_bytes > _MOST_BYTES:
        return Native.UNKNOWN, ""
    try:
        reason = sandbox.ask(
            "try",
            reads=[path],
            limits=sandbox.limits_for([path], seconds=_MOST_S),
            arrays={tensor.name: decode_array(tensor) for tensor in inputs},
            path=str(path),
        ).document["refused"]
    except sandbox.Ended as error:
        return _ended(error), str(error)
    except sandbox.Refused as error:
        if error.kind == InvalidModel.__name__:
            return Native.NO_MODEL, str(error)
        return _unknown(shard, error)
    except (sandbox.Failed, OSError) as error:
        return _unknown(shard, error)
    return (Native.REFUSES, str(reason)) if reason else (Native.TAKES, "")


def _unknown(shard: RunStep, error: Exception) -> tuple[Native, str]:
    log.warning("native onnxruntime could not be asked about shard %s: %s", shard, error)
    return Native.UNKNOWN, ""


def _ended(error: sandbox.Ended) -> Native:
    if error.by_signal:
        return Native.REFUSES
    return Native.ENDLESS if error.too_long else Native.UNKNOWN
