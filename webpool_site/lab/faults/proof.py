"""What the ledger says of many runs: which never ended, which were recorded twice."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence

from django.db.models import Count, Q

from inference.core.lifecycle import STEP
from inference.models import Outcome, Run, RunState, RunStep, StepKind

_AT_ONCE = 500  # SQLite takes so many values in one question


@dataclasses.dataclass(frozen=True)
class Proof:
    """Every number is of runs, `open_shards` and `attempts` apart; all lists are short when all is well.

    Attributes:
        lost: not in the ledger, or never ended.
        doubled: a shard of theirs has more than one result that counts.
        unproved: succeeded, although a shard has no result.
        failed: by category: they ended with a reason and without an answer.
        open_shards: of runs that have ended.
    """

    runs: int
    succeeded: int
    failed: dict[str, int]
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    unproved: tuple[str, ...]
    open_shards: int
    attempts: dict[str, int]

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.unproved or self.open_shards)


def prove(run_ids: Iterable[uuid.UUID]) -> Proof:
    """Ask the ledger what became of these runs."""
    wanted = sorted(set(run_ids))
    states: dict[uuid.UUID, tuple[str, str]] = {}
    results: dict[uuid.UUID, Counter[int]] = {}
    attempts: Counter[str] = Counter()
    open_shards = 0
    for some in _portions(wanted):
        for pk, state, category in Run.objects.filter(pk__in=some).values_list(
            "pk", "state", "error_category"
        ):
            states[pk] = (state, category)
        steps = RunStep.objects.filter(run__in=some, kind=StepKind.COMPUTE)
        good = Count("attempt_rows", filter=Q(attempt_rows__outcome=Outcome.SUCCEEDED))
        rows = steps.annotate(good=good).values_list("run", "index", "state", "good")
        for run, index, state, count in rows:
            results.setdefault(run, Counter())[index] += count
            ended = states[run][0] != RunState.RUNNING
            open_shards += ended and state not in STEP.ended
        for outcome, count in (
            steps.values_list("attempt_rows__outcome").annotate(n=Count("attempt_rows")).order_by()
        ):
            if outcome:
                attempts[outcome] += count
    answered = [pk for pk in wanted if states.get(pk, ("",))[0] == RunState.SUCCEEDED]
    return Proof(
        runs=len(wanted),
        succeeded=len(answered),
        failed=dict(Counter(why for state, why in states.values() if state in _WITHOUT_ANSWER)),
        lost=_named(
            pk for pk in wanted if states.get(pk, (RunState.RUNNING,))[0] == RunState.RUNNING
        ),
        doubled=_named(
            pk for pk in wanted if any(n > 1 for n in results.get(pk, Counter()).values())
        ),
        unproved=_named(pk for pk in answered if pk not in results or 0 in results[pk].values()),
        open_shards=open_shards,
        attempts=dict(attempts),
    )


_WITHOUT_ANSWER = (RunState.FAILED, RunState.CANCELLED)


def _named(runs: Iterable[uuid.UUID]) -> tuple[str, ...]:
    return tuple(str(run) for run in runs)


def _portions(runs: Sequence[uuid.UUID]) -> Iterable[Sequence[uuid.UUID]]:
    return (runs[at : at + _AT_ONCE] for at in range(0, len(runs), _AT_ONCE))
