"""What is known of a file before a browser computes it, and whether those that hold it still answer right."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from browsers.core.answers.agreement import SINGLE, disagreement
from browsers.core.protocol import WireTensor

RULES: Final = 2
"""Raised when files are looked at in another way: older findings count no more."""


@dataclasses.dataclass(frozen=True)
class KnownAnswer:
    """Inputs for a file and onnxruntime's answer to them; `dims`: the sizes of its symbolic dimensions."""

    inputs: list[WireTensor]
    outputs: list[WireTensor]
    dims: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Known:
    """What was found out of a file when it was written.

    Attributes:
        answers: known ones, to different inputs.
        why_none: why there are none; empty where there are.
        random: it draws random numbers: no two of its answers are alike, and none can be proved.
        constant: outputs that were the same number in all known answers: a browser that always says so is not
            found out.
        forms: operator forms of it that some backends get wrong (core/bad_forms.py).
        index_limits: inputs that look up a table → its length.
        narrows: it casts computed floats to integers; those that these cannot hold come out otherwise.
        tolerance: what floats of its answers may differ by; see `agreement`.
    """

    answers: tuple[KnownAnswer, ...] = ()
    why_none: str = ""
    random: bool = False
    constant: tuple[str, ...] = ()
    forms: frozenset[str] = frozenset()
    index_limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    narrows: bool = False
    tolerance: float = SINGLE

    @property
    def weakness(self) -> str:
        """What a right answer to all that was tried leaves open; empty: nothing."""
        if not self.answers:
            return f"no known answer: {self.why_none}"
        said = []
        if self.constant:
            said.append(
                f"all known answers have the same number throughout in {', '.join(self.constant)}"
            )
        if self.narrows:
            said.append("floats that an integer type cannot hold are cast otherwise than natively")
        return "; ".join(said)

    def wrong(self, answer: KnownAnswer, got: Sequence[WireTensor]) -> str:
        """What is wrong with an answer to known inputs; empty: it is right."""
        return disagreement(got, answer.outputs, tolerance=self.tolerance)


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
