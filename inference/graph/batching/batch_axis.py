"""Whether a batch may be split by rows, as a verdict that travels with a model."""

from __future__ import annotations

import dataclasses
import enum

from inference.documents import JsonObject, JsonView


class Verdict(enum.StrEnum):
    """What is known of the rows of a batch.

    proved: from the graph, each row is computed for itself, however many there are.
    tried: batches of some sizes answered alike together and apart; other sizes may not.
    no: there is no batch axis, or rows influence one another.
    """

    PROVED = "proved"
    TRIED = "tried"
    NO = "no"


@dataclasses.dataclass(frozen=True)
class BatchAxis:
    """The first axis of a model's inputs and outputs, if it is a batch.

    Attributes:
        inputs: names of those split on their first axis; others go whole to each part. Empty for `no`.
        reason: why it is not proved; empty if it is.
        tried: the numbers of rows that were run together and apart.
    """

    verdict: Verdict
    inputs: tuple[str, ...] = ()
    reason: str = ""
    tried: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, item: JsonView) -> BatchAxis:
        return cls(
            Verdict(item["verdict"]),
            tuple(item["inputs"]),
            item["reason"],
            tuple(item["tried"]),
        )

    def to_json(self) -> JsonObject:
        return {
            "verdict": str(self.verdict),
            "inputs": list(self.inputs),
            "reason": self.reason,
            "tried": list(self.tried),
        }

    def may_split(self, *, allow_unproved: bool) -> bool:
        """Whether rows may be computed apart, and rows of several callers' items together."""
        return self.verdict == Verdict.PROVED or (self.verdict == Verdict.TRIED and allow_unproved)

    def __str__(self) -> str:
        if self.verdict == Verdict.PROVED:
            return "proved"
        if self.verdict == Verdict.NO:
            return f"no ({self.reason})"
        sizes = ", ".join(map(str, self.tried))
        return f"tried with batches of {sizes}, not proved ({self.reason})"


def refused(reason: str) -> BatchAxis:
    return BatchAxis(Verdict.NO, reason=reason)
