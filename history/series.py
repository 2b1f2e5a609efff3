"""The history's rows as the series that the decisions in `core/` compare."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from history.core.regressions import BuildSeries
from history.core.series import Arm, Floats, Series, Work

if TYPE_CHECKING:
    from history.store.reading import Queries

_SERIES_KEY: Final = (
    "model_type", "model_name", "sha256", "shape", "batch_size", "load", "browser", "platform",
    "software", "host", "adapter",
)  # fmt: skip


def load(
    history: Queries,
    since: datetime,
    *,
    model_type: str | None = None,
    model_name: str | None = None,
) -> list[Series]:
    """Every arm on every work since then, warm-ups left out, at most 500 latencies of each."""
    rows = history.rows("series", since=since, model_type=model_type, model_name=model_name)
    return [
        Series(
            work=Work(
                row["model_type"], row["model_name"], row["sha256"], row["shape"],
                row["batch_size"], row["load"],
            ),
            arm=_arm(row["browser"], row["platform"], row["software"]),
            latencies_ms=floats(row["latencies_ms"]),
            successes=row["successes"],
            failures=row["failures"],
            model_failures=row["model_failures"],
            throughputs=floats(row["throughputs"]),
            memory_mb=floats(row["memory_mb"]),
        )
        for row in rows
    ]  # fmt: skip


def builds(
    history: Queries, since: datetime
) -> tuple[list[BuildSeries], dict[str, Mapping[str, Any]]]:
    """Latencies by build of the same arm, work and host; and what each key stands for."""
    found: list[BuildSeries] = []
    named: dict[str, Mapping[str, Any]] = {}
    for row in history.rows("builds", since=since):
        what = {name: row[name] for name in _SERIES_KEY}
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        named[key] = what
        latencies = (floats(values) for values in row["latencies_ms"])
        found.append(BuildSeries(key, dict(zip(row["builds"], latencies, strict=True))))
    return found, named


@functools.lru_cache(maxsize=1000)
def _arm(browser: str, platform: str, software: bool | None) -> Arm:
    """The same object for the same arm: comparing a hundred thousand of them takes its time."""
    return Arm(browser, platform, software)


_NONE: Final[Floats] = np.empty(0)
_NONE.flags.writeable = False


def floats(values: Iterable[float] | None) -> Floats:
    listed = values if isinstance(values, list) else list(values or ())
    return np.array(listed, dtype=np.float64) if listed else _NONE
