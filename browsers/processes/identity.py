"""As whom drivers and browsers run: where the pool is root's, as a user of their own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from browsers.processes.containment import BROKER, containment, works

USER_VARIABLE: Final = "WEBPOOL_BROWSER_USER"
"""Environment variable: a name or number of the user as whom root's browsers run; `root`: as root."""

_NUMBERS: Final = range(64_200, 64_300)  # systemd's range for users that nobody keeps
# CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SYS_PTRACE, SYS_ADMIN, SYS_NICE of capabilities(7): what root
# needs to look after processes that are not its own.
_NEEDED: Final = sum(1 << number for number in (0, 1, 5, 6, 7, 19, 21, 23))


@dataclass(frozen=True)
class Identity:
    """A user for browsers; `groups` are those of this machine's graphics devices."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def text(self, folders: Iterable[Path]) -> str:
        """For the first program of the container; `folders` are to be reachable at their paths."""
        return json.dumps(
            {
                "uid": self.uid,
                "gid": self.gid,
                "groups": self.groups,
                "folders": sorted({str(folder) for folder in folders}),
            }
        )

    def own(self, folder: Path) -> None:
        """Give a folder with all that is in it to this user; nobody may be writing there."""
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@functools.cache
def _identity(wanted: str) -> Identity | None:
    if os.geteuid() != 0 or wanted in ("root", "0") or not containment().private_network:
        return None
    if containment().mode != "pid-namespace" or not _may_look_after_others():
        return None
    found = _named(wanted) if wanted else _own()
    return found if _works(found) else None


def identity() -> Identity | None:
    """As whom browsers run; None: as this process's own user. Found by trying, once per process.

    ValueError when USER_VARIABLE names nobody.
    """
    return _identity(os.environ.get(USER_VARIABLE, ""))


def _named(wanted: str) -> Identity:
    try:
        entry = pwd.getpwuid(int(wanted)) if wanted.isdigit() else pwd.getpwnam(wanted)
    except KeyError:
        raise ValueError(f"{USER_VARIABLE}: there is no user {wanted!r} on this machine") from None
    return Identity(entry.pw_uid, entry.pw_gid, _graphics())


def _own() -> Identity:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    number = next(number for number in _NUMBERS if number not in taken)
    return Identity(number, number, _graphics())


def _graphics() -> tuple[int, ...]:
    groups = set()
    for node in Path("/dev/dri").glob("*"):
        with contextlib.suppress(OSError):
            groups.add(node.stat().st_gid)
    return tuple(sorted(groups - {0}))


def _may_look_after_others() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & _NEEDED == _NEEDED
    return False


def _works(found: Identity) -> bool:
    command = [sys.executable, *BROKER, "-1", found.text([]), "true"]
    return works(containment().wrap(command))
