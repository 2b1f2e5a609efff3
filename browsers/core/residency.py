"""Which models stay in a browser: what must go before another one fits under its memory limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from browsers.core.errors import OutOfMemory

PEAK_FACTOR: Final[Mapping[str, float]] = {"wasm": 3.7, "webgpu": 6.1, "webnn": 5.9}
"""Memory per byte of a model's file, by backend, at the highest point of loading and running it.

Measured as the growth of the browser's process tree (PSS) over files of 84 and 252 MB of float32
MatMul weights with onnxruntime-web 1.30 in Chromium 153 and Firefox 153, software GPU adapters: the
file, onnxruntime's parsed copy, its packed weights, and on the GPU backends a staging copy.
"""

_PEAK_FACTOR_OF_WEIGHTS: Final[Mapping[str, tuple[float, float]]] = {
    "float32": (3.9, 4.2),
    "float16": (5.6, 5.6),
    "int8": (3.2, 4.2),
    "int4": (3.2, 4.2),
    "int4-float16": (3.9, 4.7),
}
"""On WebAssembly by precision of the weights, Chromium and Firefox | WebKit (`make bench PART=memory`)."""
WEBKIT_FAMILIES: Final = ("safari", "webkitgtk")
WASM_MEMORY_MB: Final = 4096.0
"""What WebAssembly addresses. The fetched file lies outside of it."""

DEFAULT_BASELINE_MB: Final = 700.0
"""A browser's own memory where it cannot be measured (a remote one, one that does not run yet)."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Resident(Generic[Key]):
    """A model that is in the browser now; `last_used_s` on any steady clock."""

    key: Key
    planned_mb: float
    last_used_s: float


def planned_mb(file_bytes: int, *, backend: str) -> float:
    """The memory in MB that a model file is planned with."""
    return file_bytes / 1e6 * PEAK_FACTOR[backend]


def room_for_weights(limit_mb: float, *, weights: str, family: str) -> int:
    """Bytes of weights of that precision that fit into a browser on WebAssembly beside nothing else."""
    factor = factor_of_weights(weights, family)
    by_limit = (limit_mb - DEFAULT_BASELINE_MB) / factor
    return max(0, int(min(by_limit, WASM_MEMORY_MB / (factor - 1.0)) * 1e6))


def factor_of_weights(weights: str, family: str) -> float:
    """Memory per byte of weights of that precision, on WebAssembly in a browser of that family."""
    return _PEAK_FACTOR_OF_WEIGHTS[weights][family in WEBKIT_FAMILIES]


def to_unload(
    resident: Iterable[Resident[Key]], *, incoming_mb: float, baseline_mb: float, limit_mb: float
) -> tuple[Key, ...]:
    """The keys to unload, least recently used first, so that the incoming model fits.

    All figures are planned memory; `baseline_mb` is the browser without models. OutOfMemory if the
    model would not fit even alone: it needs another browser.
    """
    if baseline_mb + incoming_mb > limit_mb:
        raise OutOfMemory(
            f"the model is planned with {incoming_mb:.0f} MB beside the browser's own "
            f"{baseline_mb:.0f} MB, over the limit of {limit_mb:.0f} MB; use more shards or a "
            f"browser with a higher limit"
        )
    staying = sorted(resident, key=lambda each: (each.last_used_s, str(each.key)))
    leaving: list[Key] = []
    while staying:
        if baseline_mb + incoming_mb + sum(each.planned_mb for each in staying) <= limit_mb:
            break
        leaving.append(staying.pop(0).key)
    return tuple(leaving)
