"""One measurement as history keeps it, and what is refused as one."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from webpool_site.telling.text import is_utf8


class Kind(enum.StrEnum):
    EXECUTION = "execution"
    LOAD = "load"


class Blame(enum.StrEnum):
    """What a failure counts against."""

    BROWSER = "browser"  # the browser, with whatever model
    MODEL = "model"  # this model in that browser, which is otherwise well
    NOBODY = "nobody"  # it is the same in every browser, or it was the caller's wish


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """One execution of a shard, or one load of a model file; None where a value is not known.

    Attributes:
        source, source_id: together the key: what was taken over is never taken again.
        timestamp: when it ended, UTC, without a time zone.
        browser: the kind of browser, as in WEBPOOL_BROWSERS; `browser_id` is the one of the pool.
        platform: the backend that really ran it; None when it failed before one was known.
        latency_ms: the page's own compute time; None for loads, whose time is `load_ms`.
        throughput_tokens_per_sec: of a whole model, from the tokens it was really given.
        memory_mb: the browser's process tree at that time.
        work: SHA-256 of the file that was computed: only the same work is compared.
        shape: bucket of the input shapes (`core.shapes`).
        concurrent: other shards that the pool computed during it.
        blame: of a failure; None: the history gives it one by its `error_type`, as it is kept.
        extra: everything that has no column, as JSON.
    """

    source: str
    source_id: int
    kind: Kind = Kind.EXECUTION
    timestamp: datetime
    browser: str
    model_type: str
    model_name: str
    platform: str | None = None
    latency_ms: float | None = None
    throughput_tokens_per_sec: float | None = None
    memory_mb: float | None = None
    batch_size: int | None = None
    success: bool
    error_type: str | None = None
    blame: Blame | None = None
    browser_id: str | None = None
    family: str | None = None
    host: str | None = None
    browser_version: str | None = None
    driver_version: str | None = None
    adapter: str | None = None
    software: bool | None = None
    work: str | None = None
    shape: str | None = None
    warm: bool | None = None
    concurrent: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    queue_ms: float | None = None
    load_ms: float | None = None
    transfer_ms: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# What parts of blocks do, where a model was cut into those.
PART_TYPES: Final = ("attention", "feed_forward")
MODEL_TYPES: Final = (
    "text", "text_embedding", "vision", "audio", "multimodal", "other", *PART_TYPES,
)  # fmt: skip
PLATFORMS: Final = ("webnn", "webgpu", "wasm")
LONGEST_TEXT: Final = 1000
MOST_DEPTH: Final = 48
_TEXTS: Final = ("family", "browser_version", "driver_version", "adapter", "work", "shape")
CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""So far into the future a timestamp may lie: the clocks of two machines are never quite alike."""

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:./ -]{0,127}")
_HIGHEST: Final = {
    "source_id": 2**63 - 1, "latency_ms": 1e12, "throughput_tokens_per_sec": 1e12, "memory_mb": 1e12,
    "batch_size": 2**31 - 1, "concurrent": 2**31 - 1, "bytes_in": 2**53, "bytes_out": 2**53,
    "queue_ms": 1e12, "load_ms": 1e12, "transfer_ms": 1e12,
}  # fmt: skip
"""Beyond these nothing was measured: 1e12 ms are 31 years."""


def refusals(item: Observation, *, now: datetime, browsers: Collection[str]) -> Iterator[str]:
    """Why an observation from outside cannot be true; nothing when it can. `now` as `timestamp`."""
    if item.browser not in browsers:
        yield f"browser {item.browser!r} is unknown: expected one of {', '.join(browsers)}"
    if item.model_type not in MODEL_TYPES:
        yield f"model_type {item.model_type!r}: expected one of {', '.join(MODEL_TYPES)}"
    if not _MODEL_NAME.fullmatch(item.model_name):
        yield (f"model_name {item.model_name!r}: expected letters, digits, - _ and ., at most 128")
    if item.platform is not None and item.platform not in PLATFORMS:
        yield f"platform {item.platform!r}: expected one of {', '.join(PLATFORMS)}"
    for name in ("source", "error_type", "browser_id", "host"):
        value = getattr(item, name)
        if value is not None and not _WORD.fullmatch(value):
            yield f"{name} {value!r}: expected letters, digits and _ - : . / , at most 128"
    if item.timestamp > now + CLOCKS_DIFFER:
        yield f"timestamp {item.timestamp.isoformat()} lies in the future (it is {now.isoformat()})"
    for name, highest in _HIGHEST.items():
        value = getattr(item, name)
        if value is not None and not 0 <= value <= highest:
            yield f"{name} {str(value)[:40]}: expected a finite number from 0 to {highest:g}"
    yield from _unwritable(item)
    if item.success and item.kind == Kind.EXECUTION and item.latency_ms is None:
        yield "latency_ms is missing: an execution that succeeded took some time"


def _unwritable(item: Observation) -> Iterator[str]:
    """Values that no file and no answer could hold."""
    for name in _TEXTS:
        value = getattr(item, name)
        if value is not None and (len(value) > LONGEST_TEXT or not is_utf8(value)):
            yield f"{name} {value[:80]!a}: expected text of at most {LONGEST_TEXT} characters in UTF-8"
    if _is_deep(item.extra):
        yield f"extra: expected at most {MOST_DEPTH} levels"
        return
    try:
        text = json.dumps(dict(item.extra), default=str, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        what = "expected what JSON can say (no NaN, no infinity, no lone surrogate)"
        yield f"extra: {what}: {str(error)[:200]!a}"


def _is_deep(document: Mapping[str, Any]) -> bool:
    """Whether it is nested more deeply than whoever writes or reads it could follow."""
    level: list[Any] = [document]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
    return any(isinstance(one, Mapping | list) for one in level)
