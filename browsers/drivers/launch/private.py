"""The directories that belong to one browser alone: its profile and its scratch space.

The scratch directory is TMPDIR of driver and browser, so that a killed one leaves nothing elsewhere.
Browsers put Unix sockets there, whose paths end at 108 bytes: below a long `profile_dir` it moves to
the system's temporary directory, under a name made from `profile_dir`, so that the next life of the
same browser finds and wipes it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from browsers.drivers.errors import LaunchFailed

_MAX_SCRATCH = 60
"""Longest path of the scratch directory, in characters."""


def scratch(profile_dir: Path) -> Path:
    """Where TMPDIR of the browser with this resolved `profile_dir` is."""
    inside = profile_dir / "tmp"
    if len(str(inside)) <= _MAX_SCRATCH:
        return inside
    name = hashlib.sha256(str(profile_dir).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"webpool-{name}"


def remove(profile_dir: Path) -> None:
    """Remove what is there of both directories."""
    profile_dir = profile_dir.resolve()
    shutil.rmtree(scratch(profile_dir), ignore_errors=True)
    shutil.rmtree(profile_dir, ignore_errors=True)


def wipe(profile_dir: Path) -> Path:
    """Make both directories anew and empty, for this user only; returns `profile_dir` resolved.

    LaunchFailed when they cannot be made, also when somebody else's directory is in the place of ours.
    """
    profile_dir = profile_dir.resolve()
    remove(profile_dir)
    try:
        profile_dir.mkdir(parents=True, mode=0o700)
        scratch(profile_dir).mkdir(mode=0o700)
    except OSError as error:
        raise LaunchFailed(
            f"the browser's private directory cannot be made ({error})",
            tried=f"an empty {profile_dir}",
            log_tail="(not started)",
            remedy="free the disk, or make the directory above it writable for this user",
        ) from error
    return profile_dir
