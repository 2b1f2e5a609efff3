"""When a browser has to give memory back, and how: pure decisions over what was measured."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

"""Of the incidents that relief makes."""
WORTH_MB: Final = 64.0
"""A browser that has grown by less than this since it started has nothing to give back."""
_AGAIN_AFTER_S: Final = (30.0, 600.0)
_STANDS_FOR_S: Final = 30.0
_MOVED_MB: Final = 16.0


class Relief(enum.StrEnum):
    """What gives memory back, gentlest first."""

    UNLOAD = "unload"
    REFRESH = "refresh"
    RESTART = "restart"


@dataclass(frozen=True)
class Reading:
    """Memory now, in MB; None: it cannot be measured.

    Attributes:
        tree_mb: of the browser's process tree (PSS).
        fresh_mb: of the same, when it held no model.
        limit_mb: of the browser.
        machine_used: share of the machine's memory, 0 to 1.
        machine_limit: the share above which the machine is short.
    """

    tree_mb: float | None
    fresh_mb: float | None
    limit_mb: float
    machine_used: float
    machine_limit: float

    @property
    def machine_short(self) -> bool:
        return self.machine_used > self.machine_limit

    @property
    def shortage(self) -> str:
        """What is above its limit; empty: nothing."""
        if self.tree_mb is not None and self.tree_mb > self.limit_mb:
            return f"the browser takes {self.tree_mb:.0f} MB, its limit is {self.limit_mb:.0f} MB"
        if self.machine_short:
            return (
                f"{self.machine_used:.0%} of the machine's memory is taken, the limit is "
                f"{self.machine_limit:.0%}"
            )
        return ""

    @property
    def reclaimable(self) -> bool:
        """Whether the browser has something to give back."""
        if self.tree_mb is None:
            return False
        return self.tree_mb - (self.fresh_mb or 0.0) > WORTH_MB


@dataclass(frozen=True)
class Look:
    """What could be read cheaply when a browser was measured.

    Attributes:
        at: when, monotonic, in s.
        rss_mb: the resident memory of its tree; None: it cannot be read.
        runs: how often each model that it holds has run.
    """

    at: float
    rss_mb: float | None
    runs: Mapping[str, int]

    def stands(self, now: Look) -> bool:
        """Whether nothing moved since, so that what was measured is still as good as true.

        To measure, the kernel walks through every page of every process of the browser.
        """
        if self.rss_mb is None or now.rss_mb is None or now.at - self.at >= _STANDS_FOR_S:
            return False
        return abs(now.rss_mb - self.rss_mb) < _MOVED_MB and now.runs == self.runs


def again_after_s(in_vain: int) -> float:
    """How long to wait after so many attempts in a row that did not suffice: twice as long each time."""
    shortest, longest = _AGAIN_AFTER_S
    return min(longest, shortest * 2.0**in_vain)
