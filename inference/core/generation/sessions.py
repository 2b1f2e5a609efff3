"""What a step may do to a stage of a session, and how a prompt and what follows it are cut into steps.

A stage holds the positions before its next step under an epoch: each time the stage is given to somebody
else, its epoch is raised, and who held it before is refused. The page decides the same
(static/browsers/runtime/caches.js); both are tested on the same cases.

A stage's inputs are logged with the boundaries that they were computed with: who takes a stage over computes
the same steps, and so the same bits. They stand under the position after those that are sure: a step may have
drafted positions at its end (drafts.py), and the next one begins behind those of them that were right. What a
stage holds beyond that is cut off then.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Positions `start` to `start + count - 1`, asked for under an epoch; the last `drafted` may be wrong."""

    epoch: int
    start: int
    count: int
    drafted: int = 0

    @property
    def end(self) -> int:
        """The position after it."""
        return self.start + self.count

    @property
    def sure(self) -> int:
        """The position after those that are not drafted."""
        return self.end - self.drafted


@dataclass(frozen=True)
class Place:
    """What a stage holds: positions 0 to `position - 1`, of which the last `drafted` may be wrong.

    `last` is the start of its last step.
    """

    epoch: int
    position: int
    last: int
    drafted: int = 0


class Verdict(enum.StrEnum):
    """What a step may do, or why it may not."""

    BEGIN = "begin"
    COMPUTE = "compute"
    REPEAT = "repeat"  # its answer is known
    NO_CACHE = "no_cache"  # what comes before it is not here
    STALE_EPOCH = "stale_epoch"  # the stage was given to somebody else
    GAP = "gap"  # it does not follow what is here

    @property
    def refused(self) -> bool:
        return self in (Verdict.NO_CACHE, Verdict.STALE_EPOCH, Verdict.GAP)


def judge(place: Place | None, step: Step, kept: Place | None = None) -> Verdict:
    """What the step may do to a stage that holds `place` (None: nothing).

    `kept`: what is there of another session that has the same tokens before the step; it is cut to them.
    """
    if place is not None and step.epoch < place.epoch:
        return Verdict.STALE_EPOCH
    if place is None or step.epoch > place.epoch:
        held = kept.position if kept is not None else 0
        return Verdict.BEGIN if step.start <= held else Verdict.NO_CACHE
    if place.position - place.drafted <= step.start <= place.position:
        return Verdict.COMPUTE
    same = step.start == place.last and step.end == place.position
    return Verdict.REPEAT if same else Verdict.GAP


def after(step: Step) -> Place:
    """What a stage holds once the step is computed."""
    return Place(step.epoch, step.end, step.start, step.drafted)


def steps_of(prompt: int, written: int, *, start: int = 0, most: int) -> Sequence[tuple[int, int]]:
    """(start, count) of the steps from `start` to where `written` tokens follow a session's prompt.

    The last token written is fed, too: its step gives the next one. A prompt is cut into steps of about the
    same size, none of one position where that can be: kernels compute a single one another way.
    """
    rest = prompt - start
    pieces = -(-rest // most)
    edges = [start + rest * piece // pieces for piece in range(pieces + 1)]
    steps = [(one, other - one) for one, other in itertools.pairwise(edges)]
    return [*steps, *((prompt + index, 1) for index in range(written))]
