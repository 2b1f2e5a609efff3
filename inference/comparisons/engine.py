"""Move a comparison on, one run at a time: the one engine behind the command, REST and schedules.

Each step is a conditional UPDATE under the fence `turn`, so that any number of processes may call `advance`,
and any of them may be killed at any moment:

1. claim    no run is in flight → the next cell's turn, `turn` + 1.
2. send     `create_run` with an owner that names comparison and turn; then the row gets the run. Whoever dies
            between the two leaves a turn without a run: its run is found by that owner and adopted, or, after
            `CLAIM_S` without one, the turn is given again.
3. collect  the run ended: what it measured goes into its cell in the transaction that ends its turn, so that
            it is counted once.
4. finish   no cell is open: the comparison ends.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import redis.exceptions
from django.db.models import F, QuerySet

from browsers.core.failures import Category
from browsers.core.naming import alone
from browsers.models import Incident
from inference.comparisons import announcing, outcomes, report, storage, ways
from inference.core.comparisons.cells import CellState
from inference.core.comparisons.turns import Seat, next_turn
from inference.documents import JsonView
from inference.errors import Busy, InvalidRequest, Unavailable, UnknownBrowser
from inference.ledger import endings
from inference.models import Comparison, ComparisonCell, ComparisonState, Run, RunState
from inference.runs import creation
from inference.runs.requests import RunRequest
from inference.store import tensors, transactions
from inference.store.tensors import TensorRef

log = logging.getLogger(__name__)
# Longer than a transaction may wait for the database: after it, whoever claimed a turn has died.
CLAIM_S = 45.0
# A browser that is being repaired or restarted is back by then.
GONE_AFTER = timedelta(seconds=120)
_ASK_AGAIN = timedelta(seconds=2)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def advance(
    comparison_id: uuid.UUID, now: datetime, alone_since: datetime | None = None
) -> uuid.UUID | None:
    """Do what can be done at once; returns the run that is in flight.

    `alone_since`: from then on nobody but the caller advances; who claimed a turn before is dead.
    """
    comparison = _read(comparison_id)
    if comparison.turn_cell_id is not None:
        _collect(comparison, now, alone_since)
        comparison = _read(comparison_id)
    if comparison.state == ComparisonState.CANCELLED and comparison.turn_run_id is not None:
        endings.cancel(comparison.turn_run_id, f"its comparison {comparison.pk} was cancelled")
        _collect(_read(comparison_id), now, alone_since)
        return None
    if comparison.state == ComparisonState.RUNNING and comparison.turn_cell_id is None:
        _next(comparison, now)
    return Comparison.objects.values_list("turn_run_id", flat=True).get(pk=comparison_id)


def owner_of(comparison: Comparison) -> str:
    """What the runs of a comparison record as their owner: by it they are found again."""
    return f"comparison {comparison.pk}#{comparison.turn}"


def _read(comparison_id: uuid.UUID) -> Comparison:
    rows = Comparison.objects.select_related("model", "turn_cell", "turn_run__plan")
    return rows.defer("model__summary").get(pk=comparison_id)


# --- send ----------------------------------------------------------------------------------


def _next(comparison: Comparison, now: datetime) -> None:
    if comparison.wait_until is not None and now < comparison.wait_until:
        return
    cells = {cell.index: cell for cell in comparison.cells.all()}
    seats = [Seat(cell.index, cell.turns, outcomes.is_open(cell)) for cell in cells.values()]
    index = next_turn(comparison.seed, seats)
    if index is None:
        _finish(comparison, now)
    elif _claim(comparison, cells[index], now):
        _send(comparison, cells[index], now)


def _claim(comparison: Comparison, cell: ComparisonCell, now: datetime) -> bool:
    """Take the next turn; False: somebody else has it, a normal answer."""
    taken = Comparison.objects.filter(
        pk=comparison.pk,
        state=ComparisonState.RUNNING,
        turn=comparison.turn,
        turn_cell=None,
    ).update(turn=F("turn") + 1, turn_cell=cell, turn_run=None, claimed_at=now)
    comparison.turn += 1
    return bool(taken)


def _send(comparison: Comparison, cell: ComparisonCell, now: datetime) -> None:
    try:
        run = creation.create_run(_request(comparison, cell))
    except UnknownBrowser as error:
        _browser_missing(comparison, cell, now, str(error))
    except Busy as error:
        _wait(comparison, now + timedelta(seconds=error.retry_after_s), str(error))
    except (Unavailable, redis.exceptions.RedisError) as error:
        _wait(comparison, now + _ASK_AGAIN, str(error))
    except storage.QuestionLost as error:
        _lost(comparison, error)
    except InvalidRequest as error:
        refused = str(error)
        _end_turn(comparison, lambda row: _refuse(row, Category.NO_BROWSER, refused))
    else:
        noted = _mine(comparison).update(
            turn_run=run.pk, note="", wait_until=None, waiting_since=None
        )
        if not noted:
            endings.cancel(run.pk, f"turn {comparison.turn} was given to somebody else")


def _request(comparison: Comparison, cell: ComparisonCell) -> RunRequest:
    """A run in the cell's way, there and nowhere else; a failure is the cell's finding, not to be mended."""
    way = ways.read(cell.strategy)
    shards = ways.shards_of(comparison.model, way, comparison.owner)
    browser = alone(cell.browser, cell.kind)
    return RunRequest(
        model=comparison.model.name,
        inputs=storage.read(comparison.pk).inputs,
        strategy=way.strategy,
        shards=way.shards,
        pins={shard.index: f"{browser}/{cell.backend}" for shard in shards},
        strict=comparison.asked["strict"],
        max_retries=0,
        owner=owner_of(comparison),
        tenant=comparison.owner,
    )


def _wait(comparison: Comparison, until: datetime, why: str) -> None:
    _mine(comparison).update(turn_cell=None, turn_run=None, wait_until=until, note=why)


def _browser_missing(comparison: Comparison, cell: ComparisonCell, now: datetime, why: str) -> None:
    """Wait for it, but not for ever."""
    since = comparison.waiting_since or now
    if now - since < GONE_AFTER:
        Comparison.objects.filter(pk=comparison.pk).update(waiting_since=since)
        _wait(comparison, now + _ASK_AGAIN, why)
        return
    waited_s = int((now - since).total_seconds())
    _end_turn(comparison, lambda row: outcomes.gone(row, f"{why}; waited {waited_s} s for it"))


def _refuse(cell: ComparisonCell, category: Category, why: str) -> None:
    cell.state = (
        CellState.UNTRIED
        if category == Category.NO_BROWSER and not cell.turns
        else CellState.FAILED
    ).value
    cell.reason, cell.error_category = why, category


def _lost(comparison: Comparison, error: storage.QuestionLost) -> None:
    why = f"the inputs of this comparison cannot be read ({error}); start a new one"
    _end_turn(comparison, lambda row: _refuse(row, Category.INTERNAL, why))


def _mine(comparison: Comparison) -> QuerySet[Comparison]:
    """The comparison, unless its turn was ended or taken over since it was read."""
    return Comparison.objects.filter(
        pk=comparison.pk, turn=comparison.turn, turn_cell__isnull=False
    )


# --- collect -------------------------------------------------------------------------------


def _collect(comparison: Comparison, now: datetime, alone_since: datetime | None) -> None:
    run = comparison.turn_run
    if run is None:
        _adopt(comparison, now, alone_since)
    elif run.state != RunState.RUNNING:
        _count(comparison, run)


def _adopt(comparison: Comparison, now: datetime, alone_since: datetime | None) -> None:
    """A claimed turn without a run: its claimer is creating it, or has died before or after."""
    assert comparison.claimed_at is not None
    run = Run.objects.filter(
        owner=owner_of(comparison), created_at__gte=comparison.claimed_at - timedelta(minutes=1)
    ).first()
    if run is not None:
        _mine(comparison).update(turn_run=run.pk)
    elif comparison.claimed_at < max(now - timedelta(seconds=CLAIM_S), alone_since or _LONG_AGO):
        _mine(comparison).update(turn_cell=None)


def _count(comparison: Comparison, run: Run) -> None:
    """Put what the run measured into its cell, once; then forget its tensors."""
    if comparison.state == ComparisonState.CANCELLED:
        _end_turn(comparison, lambda _: None)
    else:
        try:
            _end_turn(comparison, lambda cell: outcomes.note(comparison, cell, run))
        except storage.QuestionLost as error:
            _lost(comparison, error)
    try:
        tensors.drop(TensorRef.from_json(item) for item in run.outputs.values())
    except redis.exceptions.RedisError as error:
        log.info("%s: its tensors are left to expire: %s", run, error)


def _end_turn(comparison: Comparison, change: Callable[[ComparisonCell], None]) -> None:
    """End the turn in flight and change its cell, both or neither; nothing if somebody else did."""
    cell = ComparisonCell.objects.filter(pk__in=_mine(comparison).values("turn_cell")).first()
    if cell is None:
        return
    change(cell)
    _write_end(comparison, cell)


@transactions.repeated
def _write_end(comparison: Comparison, cell: ComparisonCell) -> None:
    with transactions.together():
        won = _mine(comparison).update(turn_cell=None, turn_run=None, waiting_since=None, note="")
        if won:
            cell.save()


# --- end -----------------------------------------------------------------------------------


def _finish(comparison: Comparison, now: datetime) -> None:
    """With the incidents of what became worse, both or neither; nothing if somebody else did."""
    document = report.document(comparison)
    if _write_finish(comparison, document, now):
        log.info("%s finished", comparison)
        announcing.tell(comparison, document)


@transactions.repeated
def _write_finish(comparison: Comparison, document: JsonView, now: datetime) -> bool:
    with transactions.together():
        won = Comparison.objects.filter(pk=comparison.pk, state=ComparisonState.RUNNING).update(
            state=ComparisonState.FINISHED, ended_at=now, note="", wait_until=None
        )
        if won:
            Incident.objects.bulk_create(announcing.incidents(comparison, document))
    return bool(won)
