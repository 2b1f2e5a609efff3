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


@dataclasses.dataclass(frozen=True)
class Check:
    """What came of a file's last turn.

    Attributes:
        known: whether it has an answer that can be asked for in this browser.
        confirmed_at: when it was last given rightly (Unix time); None: not yet.
    """

    known: bool
    confirmed_at: float | None = None


class Checks:
    """Of the files that a browser holds: whose turn it is, and what came of each one's last.

    One thread asks and notes, any reads.
    """

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._found: dict[str, Check] = {}
        self._turn = 0

    def next(self, files: Collection[str]) -> str | None:
        """The file that was asked longest ago, new ones first; None: there is no file."""
        if not files:
            return None
        file = min(sorted(files), key=lambda one: self._asked.get(one, -1))
        self._turn += 1
        self._asked[file] = self._turn
        return file

    def note(self, file: str, check: Check) -> None:
        self._found[file] = check

    def of(self, file: str) -> Check | None:
        """None: it has not had its turn."""
        return self._found.get(file)

    def forget(self) -> None:
        """Another page: what the old one answered says little of it."""
        self._found.clear()
