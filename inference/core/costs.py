"""How long a run would take in each way it could be cut: pure arithmetic.

1. Steps go where placement would put them, and run as soon as what they depend on is done and their browser
   is free: the run's time is when the last one ends. Models are taken to be loaded already.
2. A step takes a hop (message, records, wake-ups), the way of its tensors, and its computation: as measured
   of that file in that browser; else its share of the whole model as measured there; else that of another
   browser, scaled by the two browsers' probes; else a stated default. A join takes what joins took.
3. Browsers of one machine that compute at the same time share its cores: where their threads are more than
   those, each computation takes as many times longer.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

from inference.core.placement import BrowserView, Candidate, ShardView, Wishes, place
from inference.core.split import shares

# Planning defaults, not measurements: used until this pool has measured its own.
DEFAULT_HOP_MS = 6.0
DEFAULT_JOIN_MS = 10.0
DEFAULT_MS_PER_TENSOR_MB = 15.0
DEFAULT_MS_PER_WEIGHT_MB = 1.0  # for a batch of one


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a way: `cost` is its share of the model's work, `crossing_bytes` what it takes in."""

    index: int
    sha256: str
    weight_bytes: int
    cost: float
    depends_on: tuple[int, ...] = ()
    crossing_bytes: int = 0
    join: bool = False
    batch_part: int | None = None


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run the model; `rows` is the batch that its parts share, None where it stays whole."""

    strategy: str
    shards: int
    steps: tuple[Step, ...]
    rows: int | None = None
    data_parallel: int = 1


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a hop and a join cost in ms, and over how many that was measured; 0: the default."""

    hop_ms: float = DEFAULT_HOP_MS
    hop_samples: int = 0
    join_ms: float = DEFAULT_JOIN_MS
    join_samples: int = 0


@dataclasses.dataclass(frozen=True)
class StepPrediction:
    """`basis`: measured, scaled (from other measurements) or default."""

    index: int
    browser: str
    compute_ms: float
    total_ms: float
    basis: str


@dataclasses.dataclass(frozen=True)
class Prediction:
    way: Way
    total_ms: float
    steps: tuple[StepPrediction, ...]


def predict(
    way: Way, whole: Step, pool: Sequence[BrowserView], wishes: Wishes, rates: Rates
) -> Prediction:
    """The time of a run; `whole` is the uncut model as one step.

    Raises:
        NoBrowser: a step fits nowhere.
    """
    computing = [step for step in way.steps if not step.join]
    views = [ShardView(step.index, step.sha256, step.weight_bytes) for step in computing]
    placed = dict(zip((s.index for s in computing), place(views, pool, wishes), strict=True))
    browsers = {browser.id: browser for browser in pool}
    rows = _rows(way, computing, placed, browsers)
    crowding = _crowding(computing, {at: browsers[one.browser] for at, one in placed.items()})
    ends: dict[int, float] = {}
    free: dict[str, float] = {}
    predicted = []
    for step in way.steps:
        ready = max((ends[index] for index in step.depends_on), default=0.0)
        moved = step.crossing_bytes / 2**20 * DEFAULT_MS_PER_TENSOR_MB
        if step.join:
            ends[step.index] = ready + rates.join_ms + moved
            continue
        browser = browsers[placed[step.index].browser]
        compute, basis = _compute_ms(Work(step, way, rows[step.index]), whole, browser, pool)
        compute *= crowding[step.index]
        start = max(ready, free.get(browser.id, browser.outstanding * compute))
        ends[step.index] = free[browser.id] = start + rates.hop_ms + moved + compute
        took = ends[step.index] - start
        predicted.append(StepPrediction(step.index, browser.id, compute, took, basis))
    return Prediction(way, max(ends.values()), tuple(predicted))


@dataclasses.dataclass(frozen=True)
class Work:
    """What one step has to do: `rows` of the batch, None where nobody knows how many there are."""

    step: Step
    way: Way
    rows: int | None

    @property
    def whole_batch(self) -> bool:
        return self.step.batch_part is None

    @property
    def share(self) -> float:
        """Of the model's work on the whole batch."""
        if self.whole_batch or not self.rows or not self.way.rows:
            return self.step.cost
        parts = 1 + max(step.batch_part or 0 for step in self.way.steps)
        return self.step.cost * parts * self.rows / self.way.rows


def _crowding(steps: Sequence[Step], placed: Mapping[int, BrowserView]) -> dict[int, float]:
    """For each step how many threads want each core of its machine while it runs, at least 1."""
    together: dict[tuple[tuple[int, ...], str], dict[str, BrowserView]] = defaultdict(dict)
    for step in steps:
        browser = placed[step.index]
        together[step.depends_on, browser.host][browser.id] = browser

    def wanted(step: Step) -> float:
        browser = placed[step.index]
        if not browser.host or not browser.cores:
            return 1.0
        others = together[step.depends_on, browser.host].values()
        threads = sum(other.threads or browser.cores for other in others)
        return max(1.0, threads / browser.cores)

    return {step.index: wanted(step) for step in steps}


def _rows(
    way: Way,
    steps: Sequence[Step],
    placed: Mapping[int, Candidate],
    browsers: Mapping[str, BrowserView],
) -> dict[int, int | None]:
    """How many rows each step has: those of its part, in proportion to the parts' first browsers' speed."""
    firsts: dict[int, Step] = {}
    for step in steps:
        if step.batch_part is not None:
            firsts.setdefault(step.batch_part, step)
    if way.rows is None or not firsts:
        return dict.fromkeys((step.index for step in steps), way.rows)
    speeds = [
        browsers[placed[first.index].browser].row_ms.get(first.sha256)
        for _, first in sorted(firsts.items())
    ]
    split = dict(zip(sorted(firsts), shares(way.rows, speeds), strict=True))
    return {
        step.index: way.rows if step.batch_part is None else split[step.batch_part]
        for step in steps
    }


def _compute_ms(
    work: Work, whole: Step, browser: BrowserView, pool: Sequence[BrowserView]
) -> tuple[float, str]:
    own = _measured_ms(work.step.sha256, work.rows, browser)
    if own is not None:
        return own, "measured"
    here = _measured_ms(whole.sha256, work.way.rows, browser)
    if here is not None:
        return here * work.share, "scaled"
    probe = _probe_ms(browser)
    for other in pool:
        there = _measured_ms(whole.sha256, work.way.rows, other)
        if there is not None:
            return there * probe / _probe_ms(other) * work.share, "scaled"
    fastest = min(_probe_ms(other) for other in pool)
    default = whole.weight_bytes / 2**20 * DEFAULT_MS_PER_WEIGHT_MB
    return default * probe / fastest * work.share, "default"


def _measured_ms(sha256: str, rows: int | None, browser: BrowserView) -> float | None:
    """What a file takes in a browser: by its rows where those are known, else as it usually did."""
    row_ms = browser.row_ms.get(sha256)
    return row_ms * rows if row_ms and rows else browser.loaded.get(sha256)


def _probe_ms(browser: BrowserView) -> float:
    return min((b.probe_ms for b in browser.backends if b.probe_ms), default=1.0)


def best(predictions: Sequence[Prediction]) -> Prediction:
    """The fastest; of equals the one with fewest steps."""
    return min(predictions, key=lambda p: (round(p.total_ms, 3), len(p.way.steps), p.way.strategy))
