"""One thing that the doctor looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Level(enum.StrEnum):
    OK = "ok"
    NOTE = "note"  # works, but less well than it could
    MISSING = "missing"  # can be had, and is not needed
    UNTRIED = "untried"  # cannot be had on this machine, so nobody tried it here
    BAD = "bad"  # the pool cannot run


@dataclass(frozen=True)
class Finding:
    """`area` groups findings; `remedy` says what to do unless all is well; `facts` are for --json."""

    area: str
    name: str
    level: Level
    text: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
