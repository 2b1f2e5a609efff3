"""Memory, throughput, latency and recovery time per family, strategy and shards.

For each line: its browsers are killed, so that they hold nothing, and their breakers reset; their memory is
read; the model is loaded and run; their memory is read again; runs are timed; then runs are hurt by SIGKILL
of a browser that computes one of their shards, each with its answer checked. Everything on WebAssembly, with
the pool's fixed number of threads per browser.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from inference.errors import InvalidRequest, WebpoolError
from inference.runs import creation
from inference.runs.metrics import milliseconds, run_metrics
from webpool_site.lab.bench import emptied
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Progress, Table, short
from webpool_site.lab.bench.subjects import BATCH, Subject, subjects
from webpool_site.lab.bench.texts import families
from webpool_site.lab.faults.health import NotHealed
from webpool_site.lab.faults.scenarios import SCENARIOS
from webpool_site.lab.faults.targets import NoTarget
from webpool_site.lab.faults.trial import Attack, Trial

_MOST_RUNS = 10
_KILLS = 3
_BUDGET_S, _LATEST = 600.0, 1.5
_TRIES = 2  # per kill: a run may be over before the injection
_STRIKE_AT = 0.3  # of what the shard computes
_COLUMNS = (
    "family", "strategy", "shards", "steps", "browsers", "PSS MB", "added MB/shard", "largest shard MB",
    "samples/s", "p50 ms", "p95 ms", "kills", "hits", "recovery ms", "right",
)  # fmt: skip
WHOLE: tuple[Mapping[str, Any], ...] = (
    {"strategy": "none"},
    {"strategy": "layer", "shards": 2},
    {"strategy": "layer", "shards": 3},
    {"strategy": "attention_feedforward"},
    {"strategy": "tensor", "shards": 2},
    {"strategy": "data", "shards": 3},
)
PARTS: tuple[Mapping[str, Any], ...] = ({"strategy": "component"},)


@dataclasses.dataclass(frozen=True)
class Timed:
    """Undisturbed runs: their times in ms, and what each shard of the last one was.

    `ledger_ms`: from a run's creation to its end, without the way of its outputs to the caller.
    """

    times_ms: Sequence[float]
    ledger_ms: Sequence[float]
    shards: Sequence[Mapping[str, Any]]
    num_shards: int
    largest_mb: float
    right: bool


def measure(pool: Pool) -> Iterator[Table | str]:
    """The table, family by family, and what was refused."""
    browsers = pool.ids[:3]
    yield (
        f"WebAssembly, {settings.WEBPOOL_THREADS or 'automatic'} threads per browser, batches of {BATCH}, "
        f"browsers {', '.join(browsers)}; weights are seeded, shapes those named. `recovery ms`: how much "
        "later than undisturbed (median) the right answer came after SIGKILL of a browser, median of the "
        "hits: runs that lost a computation to it. `steps`: what browsers compute for `shards` parts"
    )
    lines: dict[str, list[tuple[Any, ...]]] = {}
    found = list(subjects())
    work = [(one, way) for one in found for way in (PARTS if one.in_parts else WHOLE)]
    budget = _Budget(len(work))
    for number, (subject, way) in enumerate(work):
        named, began = f"{subject.family} {way['strategy']}", time.monotonic()
        if not (kills := budget.kills(number)):
            yield f"{named}: not measured: the part's time was over"
            continue
        try:
            line = _Line(subject, way, browsers, pool.n).measured(kills)
            lines.setdefault(subject.family, []).append(line)
            yield Progress(_progress(line, time.monotonic() - began))
        except InvalidRequest as refusal:
            yield f"{named}: refused: {refusal}"
        except (NotHealed, NoTarget, WebpoolError) as failure:
            yield f"{named}: not measured: {failure}"
    about = {one.family: one.about for one in found}
    for family, those in lines.items():
        yield Table(f"{family}: shape of {about[family]}", _COLUMNS, tuple(those))
    yield from families.measure(browsers)


class _Budget:
    """Keeps the part within its time on a slow machine: one kill a line when it is late, and an end."""

    def __init__(self, lines: int) -> None:
        self._lines, self._began = lines, time.monotonic()

    def kills(self, done: int) -> int:
        """How many kills the next line gets; 0: it is left out."""
        spent = (time.monotonic() - self._began) / _BUDGET_S
        if spent > _LATEST:
            return 0
        return _KILLS if spent <= (done + 1) / self._lines else 1


def _progress(line: Sequence[Any], took_s: float) -> str:
    case = dict(zip(_COLUMNS, line, strict=True))
    return (
        f"  {case['family']} {case['strategy']}, {case['shards']} shards: {short(case['p50 ms'])} ms, "
        f"recovery {short(case['recovery ms'])} ms, right: {case['right']} ({took_s:.0f} s)"
    )


class _Line:
    """One line of the table."""

    def __init__(
        self, subject: Subject, way: Mapping[str, Any], browsers: Sequence[str], n: int
    ) -> None:
        self._subject, self._way = subject, way
        self._how = {**way, "browsers": tuple(browsers), "platform": "wasm", "owner": "bench"}
        self._browsers, self._n = browsers, max(3, min(n, _MOST_RUNS))
        self._home: Path = settings.WEBPOOL_HOME

    def measured(self, kills: int) -> tuple[Any, ...]:
        """The line's cells; None where nothing could be measured."""
        emptied.empty(self._home, self._browsers)
        before = {browser: emptied.memory_mb(self._home, browser) for browser in self._browsers}
        self._run()  # loads
        undisturbed = self._timed()
        used = sorted({shard["browser"] for shard in undisturbed.shards})
        after = {browser: emptied.memory_mb(self._home, browser) for browser in used}
        total = emptied.total(after.values())
        added = emptied.total(emptied.less(after[b], before[b]) for b in used)
        trials = list(self._hurt(undisturbed, kills))
        median_ms = statistics.median(undisturbed.times_ms)
        usual_ms = statistics.median(undisturbed.ledger_ms)
        hits = [t for t in trials if t.retries + t.reroutes]
        later = [t.took_ms - usual_ms for t in hits if t.right and t.took_ms is not None]
        return (
            self._subject.family,
            self._way["strategy"],
            undisturbed.num_shards,
            len(undisturbed.shards),
            "+".join(used),
            total,
            added / undisturbed.num_shards if added is not None else None,
            undisturbed.largest_mb,
            BATCH * 1000 * len(undisturbed.times_ms) / sum(undisturbed.times_ms),
            median_ms,
            float(np.percentile(undisturbed.times_ms, 95)),
            len(trials),
            len(hits),
            statistics.median(later) if later else None,
            undisturbed.right and all(trial.right for trial in trials),
        )

    def _run(self) -> tuple[creation.Run, bool, float]:
        began = time.perf_counter()
        run, outputs = creation.infer(self._subject.question.asked(**self._how))
        took_ms = (time.perf_counter() - began) * 1000
        return run, self._subject.question.is_right(outputs), took_ms

    def _timed(self) -> Timed:
        self._run()  # the first runs after loading are slower
        done = [self._run() for _ in range(self._n)]
        run = done[-1][0]
        largest = max(step.weight_bytes for step in run.plan.computing) / 1e6
        return Timed(
            [took_ms for _, _, took_ms in done],
            [
                ms
                for r, _, _ in done
                if (ms := milliseconds(r.created_at, r.finished_at)) is not None
            ],
            run_metrics(run)["shards"],
            run.plan.num_shards,
            largest,
            all(right for _, right, _ in done),
        )

    def _hurt(self, undisturbed: Timed, kills: int) -> Iterator[Trial]:
        """Runs during which a browser was really killed while it computed, each of another shard."""
        for number in range(kills):
            shard = undisturbed.shards[number % len(undisturbed.shards)]
            for _ in range(_TRIES):
                attack = Attack(
                    SCENARIOS["browser_kill"], home=self._home, browser=shard["browser"]
                )
                after_s = _STRIKE_AT * (shard["compute_ms"] or 0.0) / 1000
                trial = attack.run(self._subject.question, after_s=after_s, **self._how)
                if attack.began:
                    emptied.make_whole(self._home, self._browsers)
                    yield trial
                if not trial.missed:
                    break
                self._run()  # loads again where the browser is new
            self._run()
