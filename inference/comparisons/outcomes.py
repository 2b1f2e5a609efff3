"""What a run that ended says of its cell: figures from its attempt, a verdict on its outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from django.db.models import QuerySet

from browsers.core.answers.agreement import disagreement
from browsers.core.answers.proofs import ANY_SHAPES, Verdict
from browsers.core.failures import Category
from browsers.models import BackendProof, Browser
from inference.comparisons import storage
from inference.comparisons.reference import digest
from inference.core.comparisons.cells import (
    OPEN,
    CellState,
    after_failures,
    measured,
    most_turns,
    tried_again,
)
from inference.core.comparisons.totals import Part, total
from inference.documents import JsonObject
from inference.errors import RunFailed
from inference.graph.reference import largest_difference
from inference.models import Attempt, Comparison, ComparisonCell, Outcome, Run, RunState, Strategy
from inference.runs.answers import collect
from inference.store.tensors import WireTensor, decode_array

_NUMBERS = frozenset("fiub")


def note(comparison: Comparison, cell: ComparisonCell, run: Run) -> None:
    """Put what an ended run says into the cell (unsaved)."""
    cell.run_ids = [*cell.run_ids, str(run.pk)]
    if run.state != RunState.SUCCEEDED:
        _failed(cell, run, Category.of(run.error_category or Category.INTERNAL), run.error)
        return
    try:
        outputs = collect(run)
    except RunFailed as error:
        _failed(cell, run, error.category, str(error))
        return
    _judge(comparison, cell, outputs)
    _measure(cell, list(_attempts(run).filter(outcome=Outcome.SUCCEEDED)))
    cell.turns += 1
    cell.misses = 0
    cell.state = CellState.MEASURING.value
    if len(cell.samples) >= comparison.runs:
        _close(comparison, cell)
    elif cell.turns >= most_turns(comparison.runs):
        cell.state = CellState.FAILED.value
        cell.reason = (
            f"the model did not stay loaded there: of {cell.turns} runs {len(cell.samples)} were warm; "
            "the browser is short of memory or starts again and again"
        )


def gone(cell: ComparisonCell, why: str) -> None:
    """Its browser left the pool and did not come back."""
    cell.state = after_failures(Category.NO_BROWSER, turns=cell.turns, proved_wrong=False).value
    cell.reason, cell.error_category = why, Category.NO_BROWSER


def is_open(cell: ComparisonCell) -> bool:
    return cell.state in OPEN


def _attempts(run: Run) -> QuerySet[Attempt]:
    rows = Attempt.objects.filter(shard__run=run).select_related("shard__plan_step__plan")
    return rows.order_by("shard__index", "pk")


def _measure(cell: ComparisonCell, attempts: Sequence[Attempt]) -> None:
    """Of every shard of the run, which were all computed there."""
    last = attempts[-1]
    cell.version, cell.adapter, cell.software = last.browser_version, last.adapter, last.software
    unproved = [(one, one.unproved) for one in attempts if one.unproved]
    cell.unproved = "\n".join(_told(one, why, len(attempts)) for one, why in unproved)
    known = [one.memory_mb for one in attempts if one.memory_mb is not None]
    cell.memory_mb = max([*known, cell.memory_mb or 0.0]) or None
    found = total([_part(one) for one in attempts])
    cell.nodes = dict(found.nodes)
    if cell.turns == 0:
        cell.load_ms, cell.first_ms = found.load_ms, found.first_ms
        cell.shards = [_shard(one) for one in attempts]
    elif found.warm_ms is not None:
        cell.samples = [*cell.samples, found.warm_ms]
        for shard, attempt in zip(cell.shards, attempts, strict=True):
            shard["samples"].append(attempt.compute_ms)


def _part(attempt: Attempt) -> Part:
    return Part(
        attempt.shard.plan_step.sha256,
        attempt.warm,
        attempt.load_ms,
        attempt.compute_ms,
        attempt.nodes,
    )


def _shard(attempt: Attempt) -> JsonObject:
    return {"name": _name(attempt), "nodes": attempt.nodes, "samples": []}


def _name(attempt: Attempt) -> str:
    """Of the attempt's shard: the component, else its number."""
    step = attempt.shard.plan_step
    return step.group if step.plan.strategy == Strategy.COMPONENT else f"shard {step.index}"


def _told(attempt: Attempt, said: str, shards: int) -> str:
    """With the shard that it is said of, where there are several."""
    return said if shards == 1 else f"{_name(attempt)}: {said}"


def _judge(comparison: Comparison, cell: ComparisonCell, outputs: Sequence[WireTensor]) -> None:
    found = digest(outputs)
    cell.varies = cell.varies or bool(cell.output_sha256 and cell.output_sha256 != found)
    cell.output_sha256 = cell.output_sha256 or found
    if comparison.reference["not_judged"]:
        return
    want = storage.read(comparison.pk).outputs
    off = _largest_difference(outputs, want)
    if off is not None:
        cell.largest_difference = max(cell.largest_difference or 0.0, off)
    cell.wrong = cell.wrong or disagreement(
        outputs, want, tolerance=comparison.reference["tolerance"]
    )


def _largest_difference(got: Sequence[WireTensor], want: Sequence[WireTensor]) -> float | None:
    """Over all outputs; None where one has another form, or no numbers."""
    answers = {tensor.name: tensor for tensor in got}
    largest = 0.0
    for reference in want:
        answer = answers.get(reference.name)
        if answer is None:
            return None
        one, other = decode_array(answer), decode_array(reference)
        if other.dtype.kind not in _NUMBERS:
            continue
        largest = max(largest, largest_difference(one, other))
    return largest if math.isfinite(largest) else None


def _close(comparison: Comparison, cell: ComparisonCell) -> None:
    why = comparison.reference["not_judged"]
    cell.state = measured(wrong=cell.wrong, judged=not why).value
    cell.reason = why or cell.wrong


def _failed(cell: ComparisonCell, run: Run, category: Category, error: str) -> None:
    attempt = _attempts(run).exclude(outcome=Outcome.SUCCEEDED).last()
    said = error
    if attempt and attempt.error:
        said = _told(attempt, attempt.error, len(run.computing))
    if attempt and attempt.browser_version:
        cell.version = attempt.browser_version
    cell.misses += 1
    if tried_again(category, cell.misses):
        return
    proof = None
    if attempt and category == Category.UNSUPPORTED_OPERATION:
        proof = _proof_against(cell, attempt)
    wrong = proof is not None and proof.verdict == Verdict.WRONG
    cell.state = after_failures(category, turns=cell.turns, proved_wrong=wrong).value
    cell.error_category = category
    if proof is not None and attempt is not None:
        said = _told(attempt, proof.reason, len(run.computing))
    cell.reason = said
    if proof is not None:
        cell.reason += (
            f" (found out on {proof.at:%Y-%m-%d %H:%M} UTC by trying the file in this build)"
        )
    if wrong:
        cell.wrong = said


def _proof_against(cell: ComparisonCell, attempt: Attempt) -> BackendProof | None:
    """What a trial of the file in this build of the browser found against the backend, the latest first.

    Of unusual inputs, where the attempt says that it was those.
    """
    host = Browser.objects.filter(pk=cell.browser).values_list("host", flat=True).first()
    rows = BackendProof.objects.filter(
        sha256=attempt.shard.plan_step.sha256,
        kind=cell.kind,
        version=cell.version,
        host=host or "",
        backend=cell.backend,
    )
    against = rows.exclude(verdict=Verdict.RIGHT).order_by("-at")
    holds = (row for row in against if row.shapes == ANY_SHAPES or row.reason in attempt.error)
    return next(holds, None)
