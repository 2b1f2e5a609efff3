"""Asking a program for its version, and finding programs."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from browsers.drivers.installation import Absent

_NUMBER = re.compile(r"\d+(?:\.\d+)+(?:esr)?")
_TIMEOUT_S = 20.0


@functools.lru_cache(maxsize=32)
def _ask(command: tuple[str, ...], env: tuple[tuple[str, str], ...], stamp: int) -> str | None:
    del stamp  # part of the key: a program that was replaced is asked again
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=os.environ | dict(env),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _NUMBER.search(done.stdout)
    return match[0] if match and done.returncode == 0 else None


def version_of(program: Path, *, env: Mapping[str, str] | None = None) -> str | None:
    """The first version number that `program --version` prints; None when it does not run."""
    try:
        stamp = program.stat().st_mtime_ns
    except OSError:
        return None
    return _ask((str(program), "--version"), tuple(sorted((env or {}).items())), stamp)


def first_program(candidates: Sequence[str | Path]) -> Path | None:
    """The first that exists and may be run; plain names are looked for on PATH."""
    for candidate in candidates:
        found = shutil.which(str(candidate))
        if found is not None:
            return Path(found)
    return None


def program(candidates: Sequence[str | Path], what: str) -> Path:
    """The first that may be run; Absent, with the words for all of them, when there is none."""
    found = first_program(candidates)
    if found is None:
        raise Absent(f"no program {what}")
    return found


def running_version(of: Path, *, env: Mapping[str, str] | None = None) -> str:
    """As `version_of`; Absent when it does not run."""
    version = version_of(of, env=env)
    if version is None:
        raise Absent(f"{of} does not run")
    return version
