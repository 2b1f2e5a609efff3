"""What the control worker is told of a session by whoever computes it, by the store's scripts, by the pool.

Each travels as one JSON object, whose `what` is the name of its kind in small letters.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Final, TypeAlias

from browsers.core.failures import Category

_MOST_WHY: Final = 2000  # characters


@dataclasses.dataclass(frozen=True)
class Lost:
    """A stage cannot go on where it is."""

    session: str
    stage: int
    epoch: int
    category: Category
    why: str


@dataclasses.dataclass(frozen=True)
class CaughtUp:
    """A stage that was lost goes on, so many seconds after."""

    session: str
    stage: int
    epoch: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Ahead:
    """The standby with that epoch waits so long for what the stage owes.

    `position`: up to which the stage should have given something.
    """

    session: str
    stage: int
    epoch: int
    position: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Gone:
    """A browser's worker has ended."""

    browser: str


@dataclasses.dataclass(frozen=True)
class Done:
    """A session's last token was written."""

    session: str


Message: TypeAlias = Lost | CaughtUp | Ahead | Gone | Done
_KINDS: Final = {kind.__name__.lower(): kind for kind in (Lost, CaughtUp, Ahead, Gone, Done)}


def written(message: Message) -> str:
    """As it travels; long reasons are cut."""
    fields = dataclasses.asdict(message)
    if isinstance(message, Lost):
        fields["why"] = message.why[:_MOST_WHY]
    return json.dumps({"what": type(message).__name__.lower(), **fields})


def read(text: str | bytes) -> Message:
    """What was written.

    Raises:
        ValueError: it is none of these, such as another version's.
    """
    fields = json.loads(text)
    try:
        kind = _KINDS[fields.pop("what")]
        if kind is Lost:
            fields["category"] = Category.of(fields["category"])
        message: Message = kind(**fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{text[:200]!r} is nothing that the control worker is told") from error
    return message
