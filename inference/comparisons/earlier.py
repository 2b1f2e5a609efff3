"""The comparisons of the same file before one: what its places were, and how long they took."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from inference.core.comparisons.cells import BAD, CellState, Place
from inference.documents import JsonObject
from inference.models import Comparison, ComparisonCell, ComparisonState

_MOST: Final = 20
_JUDGED: Final = frozenset({CellState.MEASURED, *BAD})


class Earlier:
    """The latest finished ones before `comparison`, the oldest first."""

    def __init__(self, comparison: Comparison) -> None:
        rows = Comparison.objects.filter(
            model=comparison.model_id,
            model_sha256=comparison.model_sha256,
            state=ComparisonState.FINISHED,
            created_at__lt=comparison.created_at,
        )
        latest = list(rows.order_by("-created_at").values_list("pk", flat=True)[:_MOST])
        cells = ComparisonCell.objects.filter(comparison__in=latest).select_related("comparison")
        self._inputs = comparison.inputs
        self._cells: dict[Place, list[ComparisonCell]] = defaultdict(list)
        for cell in cells.order_by("comparison__created_at", "index"):
            self._cells[cell.place].append(cell)

    def state(self, cell: ComparisonCell) -> CellState | None:
        """What its place was when it was judged last, in its own browser if that was; None: it never was."""
        judged = [one for one in self._cells[cell.place] if one.state in _JUDGED]
        found = _of_latest(judged, cell.browser)
        return CellState(found.state) if found else None

    def latest(self, cell: ComparisonCell) -> ComparisonCell | None:
        """When inputs of the same types and shapes were measured in its place last; None: they never were."""
        measured = [one for one in self._same_inputs(cell.place) if one.samples]
        return _of_latest(measured, cell.browser)

    def told(self, place: Place) -> list[JsonObject]:
        """Those that asked inputs of the same types and shapes, as JSON can say it."""
        return [
            {
                "comparison": str(cell.comparison_id),
                "at": cell.comparison.created_at.isoformat(),
                "version": cell.version,
                "state": cell.state,
                "median_ms": statistics.median(cell.samples) if cell.samples else None,
            }
            for cell in self._same_inputs(place)
            if cell.state != CellState.UNTRIED
        ]

    def _same_inputs(self, place: Place) -> list[ComparisonCell]:
        return [cell for cell in self._cells[place] if cell.comparison.inputs == self._inputs]


def _of_latest(cells: Sequence[ComparisonCell], browser: str) -> ComparisonCell | None:
    """Of the latest comparison that has any of them the browser's own, else another one's of the kind."""
    latest = [one for one in cells if one.comparison_id == cells[-1].comparison_id]
    own = [one for one in latest if one.browser == browser]
    return next(reversed([*latest, *own]), None)
