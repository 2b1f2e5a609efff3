"""What one browser measured of a run's shards, as figures of the whole run."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Part:
    """One shard as it was computed; times in ms, None: not measured. Shards may have the same file."""

    file: str
    warm: bool | None
    load_ms: float | None
    compute_ms: float | None
    nodes: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Total:
    """Of a run.

    Attributes:
        load_ms: of all its files; None: one of them was there already.
        first_ms: computed in it, where every file was computed with for the first time; else None.
        warm_ms: computed in it, where every shard was warm; else None.
        nodes: graph nodes per execution provider, of each file once.
    """

    load_ms: float | None
    first_ms: float | None
    warm_ms: float | None
    nodes: Mapping[str, int]


def total(parts: Sequence[Part]) -> Total:
    """Of at least one part."""
    files: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        files[part.file].append(part)
    loads = [_load(same) for same in files.values()]
    times = [part.compute_ms for part in parts if part.compute_ms is not None]
    computed = sum(times) if len(times) == len(parts) else None
    cold = all(not all(part.warm for part in same) for same in files.values())
    nodes: Counter[str] = Counter()
    for same in files.values():
        nodes.update(same[0].nodes)
    return Total(
        load_ms=sum(load for load in loads if load is not None) if None not in loads else None,
        first_ms=computed if cold else None,
        warm_ms=computed if all(part.warm for part in parts) else None,
        nodes=dict(nodes),
    )


def _load(same: Sequence[Part]) -> float | None:
    known = [part.load_ms for part in same if part.load_ms is not None]
    return sum(known) if known else None
