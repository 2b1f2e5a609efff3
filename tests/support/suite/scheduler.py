"""pytest-xdist's scheduler for this suite: whole units, longest first, and what must be alone at the end.

xdist's own `loadgroup` loses the groups with pytest 9.2, and none of its schedulers knows what takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import pytest
from xdist.report import report_collection_diff
from xdist.workermanage import WorkerController, parse_tx_spec_config

from tests.support.suite.units import Measured, Unit, left_s, total_s


class LongestFirst:
    """Hands units to workers as they become free.

    A worker begins a test only when it knows the next one, or that there is none: so it is always given two.
    Units that must be alone go to the last worker, when the others have ended with all that they had started.
    """

    def __init__(
        self,
        config: pytest.Config,
        arranged: Callable[[Sequence[str]], list[Unit]],
        durations: Mapping[str, Measured],
    ) -> None:
        self._config = config
        self._arranged = arranged
        self._durations = durations
        self._expected_nodes = len(parse_tx_spec_config(config))
        self._collections: dict[WorkerController, list[str]] = {}
        self._pending: dict[WorkerController, list[str]] = {}
        self._together: list[Unit] = []
        self._alone: list[Unit] = []
        self.collection: list[str] | None = None

    # --- what xdist asks ------------------------------------------------------------------------

    @property
    def nodes(self) -> list[WorkerController]:
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        return len(self._collections) >= self._expected_nodes

    @property
    def tests_finished(self) -> bool:
        """Everything was handed out; each worker has at most the test that waits for the word to end."""
        if self.collection is None or self._together or self._alone:
            return False
        return all(len(tests) < 2 for tests in self._pending.values())

    @property
    def has_pending(self) -> bool:
        return bool(self._together or self._alone or any(self._pending.values()))

    # --- what xdist tells -----------------------------------------------------------------------

    def add_node(self, node: WorkerController) -> None:
        self._pending[node] = []

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        self._collections[node] = list(collection)

    def schedule(self) -> None:
        if self.collection is None:
            self._check_same_collections()
            self.collection = next(iter(self._collections.values()))
            units = self._arranged(self.collection)
            self._together = [unit for unit in units if not unit.alone]
            self._alone = [unit for unit in units if unit.alone]
        self._hand_out()

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        self._pending[node].remove(self._collections[node][item_index])
        self._hand_out()

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker has ended; returns the test it died of, if it died. Others do the rest of its unit."""
        tests = self._pending.pop(node)
        self._collections.pop(node, None)
        if tests[1:]:
            rest = tuple(tests[1:])
            unit = Unit("rest", rest, total_s(rest, self._durations), alone=False)
            self._together.insert(0, unit)
        self._hand_out()
        return tests[0] if tests else None

    def mark_test_pending(self, item: str) -> NoReturn:
        raise NotImplementedError

    def remove_pending_tests_from_node(
        self, node: WorkerController, indices: Sequence[int]
    ) -> NoReturn:
        raise NotImplementedError

    # --- what progress asks ---------------------------------------------------------------------

    def left_s(self) -> float:
        """Seconds until the end, by the table of durations."""
        busy = [total_s(list(tests), self._durations) for tests in list(self._pending.values())]
        together = left_s(busy, [unit.seconds for unit in list(self._together)])
        return together + sum(unit.seconds for unit in list(self._alone))

    # --- how --------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        working = [
            node for node in self._pending if node in self._collections and not node.shutting_down
        ]
        while self._together and (free := [n for n in working if len(self._pending[n]) < 2]):
            self._give(min(free, key=self._busy_s), self._together.pop(0))
        if self._together or not self._alone or not working:
            return
        *others, last = sorted(working, key=self._busy_s)
        for node in others:
            node.shutdown()
        if self.nodes == [last]:
            while self._alone:
                self._give(last, self._alone.pop(0))

    def _busy_s(self, node: WorkerController) -> float:
        return total_s(self._pending[node], self._durations)

    def _give(self, node: WorkerController, unit: Unit) -> None:
        index = {test: number for number, test in enumerate(self._collections[node])}
        self._pending[node] += unit.tests
        node.send_runtest_some([index[test] for test in unit.tests])

    def _check_same_collections(self) -> None:
        """End the run where workers found different tests: parameters from a set differ in their order."""
        (first, expected), *others = self._collections.items()
        for node, collection in others:
            told = report_collection_diff(expected, collection, first.gateway.id, node.gateway.id)
            if told:
                raise pytest.UsageError(told)
