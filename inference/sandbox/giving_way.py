"""A job that one caller's large data cause gives way to what answers everybody.

Where autogroups are on Linux weighs sessions against one another before it weighs the processes in them: as
the web server, each worker and each browser lead their own, niceness alone would change nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Final

NICE: Final = 10
_TRIES, _AGAIN_S = 5, 0.1  # other users' sessions together may be weighed ten times a second


def give_way() -> None:
    """The calling process, which leads no session yet, comes after all others, for good."""
    os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with contextlib.suppress(FileNotFoundError):  # this kernel has none
        _weigh_session()


def _weigh_session() -> None:
    for tried in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(NICE))
        except OSError as error:
            if error.errno != errno.EAGAIN or tried == _TRIES - 1:
                return  # not allowed here: it is computed all the same
            time.sleep(_AGAIN_S)
        else:
            return
