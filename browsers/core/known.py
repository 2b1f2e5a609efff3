"""Known answers of the files that a browser holds, asked for now and then: does it still compute right?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from browsers.core.protocol import WireTensor


@dataclasses.dataclass(frozen=True)
class KnownAnswer:
    """Inputs for a file, and whether an answer to them is right."""

    inputs: list[WireTensor]
    confirms: Callable[[Sequence[WireTensor]], bool]


class Rotation:
    """Each file in its turn: the one that was asked longest ago, new ones first."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._turn = 0

    def next(self, files: Collection[str]) -> str | None:
        """None: there is no file."""
        if not files:
            return None
        file = min(sorted(files), key=lambda one: self._asked.get(one, -1))
        self._turn += 1
        self._asked[file] = self._turn
        return file
