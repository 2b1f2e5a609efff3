"""Whether computing makes a browser grow: a slope per model, from looks at memory while nothing else ran."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_MOST_LOOKS: Final = 60
_LEAST_LOOKS: Final = 8
_LEAST_RUNS: Final = 100
_WARM_UP_RUNS: Final = 20  # heaps grow to their working size

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Leak:
    """Growth of the process tree per run (Theil-Sen), and over how many runs it was seen."""

    mb_per_run: float
    runs: int


class LeakMeter(Generic[Key]):
    """Fed with looks: memory of the tree in MB, and how often each loaded model has run so far.

    Between two looks that tell of a model only that model ran, and nothing was loaded or unloaded.
    """

    def __init__(self) -> None:
        self._looks: dict[Key, deque[tuple[int, float]]] = defaultdict(
            lambda: deque(maxlen=_MOST_LOOKS)
        )
        self._last: tuple[float, Mapping[Key, int]] | None = None

    def observe(self, tree_mb: float, runs: Mapping[Key, int]) -> None:
        last, self._last = self._last, (tree_mb, dict(runs))
        if last is None or runs.keys() != last[1].keys():
            self._looks.clear()  # memory stands at another level now
            return
        ran = [key for key, count in runs.items() if count != last[1][key]]
        if len(ran) > 1 or any(runs[key] < last[1][key] for key in ran):
            self._looks.clear()
        elif ran and last[1][ran[0]] >= _WARM_UP_RUNS:
            (key,) = ran
            for other in [other for other in self._looks if other != key]:
                del self._looks[other]
            if not self._looks[key]:
                self._looks[key].append((last[1][key], last[0]))
            self._looks[key].append((runs[key], tree_mb))

    def leak(self, key: Key) -> Leak | None:
        """None: not enough was seen of it alone."""
        seen = list(self._looks.get(key, ()))
        if len(seen) < _LEAST_LOOKS or seen[-1][0] - seen[0][0] < _LEAST_RUNS:
            return None
        slopes = [
            (mb - before_mb) / (runs - before)
            for at, (before, before_mb) in enumerate(seen)
            for runs, mb in seen[at + 1 :]
        ]
        return Leak(statistics.median(slopes), seen[-1][0] - seen[0][0])
