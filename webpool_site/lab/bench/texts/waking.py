"""What the machine takes to wake a process: each hop of a token wakes one that sleeps."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Final

_ECHO: Final = "import os\nwhile given := os.read(0, 64): os.write(1, given)"
_TIMES, _ASLEEP_S = 200, 0.002


def there_and_back_ms() -> float:
    """Median of a byte's way by pipes to a process that does nothing else, and back: two are woken."""
    took = []
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _ECHO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as child:
        assert child.stdin is not None, "a pipe was asked for"
        assert child.stdout is not None, "a pipe was asked for"
        for _ in range(_TIMES):
            time.sleep(_ASLEEP_S)
            began = time.perf_counter()
            child.stdin.write(b"x")
            child.stdout.read(1)
            took.append((time.perf_counter() - began) * 1000)
        child.stdin.close()
    return statistics.median(took)
