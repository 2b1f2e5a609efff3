"""Which signal takes what out of a process of the bench's pool, or measures it; the next ends that."""

from __future__ import annotations

import signal
from typing import Final

BREAKERS: Final = "breakers"
HISTORY: Final = "history"
POINTS: Final = "points"
SIGNALS: Final = {
    BREAKERS: signal.SIGRTMIN + 4,
    HISTORY: signal.SIGRTMIN + 5,
    POINTS: signal.SIGRTMIN + 6,
}
