"""Medians and 95th percentiles of what was timed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report; times in ms. `goal_ms` is what is asked of the median."""

    name: str
    n: int
    median_ms: float
    p95_ms: float
    goal_ms: float | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.goal_ms is None else self.median_ms <= self.goal_ms


@dataclasses.dataclass(frozen=True)
class Table:
    """Lines of named columns; None is what could not be measured, printed as -."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]

    def text(self) -> str:
        """Aligned for people: numbers to the right, three digits or so."""
        cells = [[short(value) for value in line] for line in self.lines]
        align = [
            "right" if _numeric(column) else "left" for column in zip(*self.lines, strict=True)
        ]
        table = tabulate(
            cells, self.columns, tablefmt="plain", disable_numparse=True, colalign=align or None
        )
        return f"{self.title}\n{table}"

    def to_json(self) -> dict[str, Any]:
        lines = [dict(zip(self.columns, line, strict=True)) for line in self.lines]
        return {"title": self.title, "lines": lines}


def _numeric(column: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, (int, float)) for value in column)


class Progress(str):
    """What long work says meanwhile; printed and not kept."""

    __slots__ = ()


def short(value: object) -> str:
    """A cell as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def row(
    name: str, samples_ms: Sequence[float], *, goal_ms: float | None = None, **facts: Any
) -> Row:
    return Row(
        name,
        len(samples_ms),
        float(np.median(samples_ms)),
        float(np.percentile(samples_ms, 95)),
        goal_ms,
        facts,
    )


def timed(action: Callable[[], float], n: int, *, warm_up: int) -> list[float]:
    """Times of `n` calls in ms, less what each call returns (the page's own compute, in ms)."""
    for _ in range(warm_up):
        action()
    samples = []
    for _ in range(n):
        began = time.perf_counter()
        inside_ms = action()
        samples.append((time.perf_counter() - began) * 1000 - inside_ms)
    return samples
