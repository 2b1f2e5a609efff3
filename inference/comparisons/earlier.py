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

    def state(self, place: Place) -> CellState | None:
        """What it was when it was judged last; None: it never was."""
        states = [CellState(cell.state) for cell in self._cells[place]]
        return next((state for state in reversed(states) if state in _JUDGED), None)

    def states(self, places: Sequence[Place]) -> dict[Place, CellState]:
        found = {place: self.state(place) for place in places}
        return {place: state for place, state in found.items() if state is not None}

    def latest(self, place: Place) -> ComparisonCell | None:
        """When inputs of the same types and shapes were measured there last; None: they never were."""
        measured = (cell for cell in reversed(self._same_inputs(place)) if cell.samples)
        return next(measured, None)

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
