"""End a child with the process that started it, however that one dies.

The kernel's death signal follows the *thread* that created the child, and the child itself asks for it
(PR_SET_PDEATHSIG, through util-linux' setpriv) a moment after it was created. A parent that dies within
that moment would leave it behind: so the child, once it has asked, looks whether its parent still lives.
"""

from __future__ import annotations

import functools
import os
import shutil

_ONLY_UNDER_ITS_PARENT = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'


@functools.cache
def available() -> bool:
    """Whether this machine has what it takes (Linux with setpriv); else leftovers must be reaped."""
    return shutil.which("setpriv") is not None


def dies_with_parent() -> tuple[str, ...]:
    """The words before a command that this process starts; none where it is not `available`."""
    if not available():
        return ()
    shell = ("/bin/sh", "-c", _ONLY_UNDER_ITS_PARENT, str(os.getpid()))
    return ("setpriv", "--pdeathsig", "KILL", "--", *shell)
