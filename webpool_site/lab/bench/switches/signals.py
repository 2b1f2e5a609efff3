"""Which signal takes what out of a process of the bench's pool; the next one puts it back."""

from __future__ import annotations

import signal
from typing import Final

BREAKERS: Final = "breakers"
HISTORY: Final = "history"
SIGNALS: Final = {BREAKERS: signal.SIGRTMIN + 4, HISTORY: signal.SIGRTMIN + 5}
