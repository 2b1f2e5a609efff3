"""What the steps of the set-up share: one line each, and retries where a network may be at fault."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

# Seconds to wait before the second and the third try.
PAUSES_S = (3.0, 10.0)


class SetupError(Exception):
    """A step that failed; the message says what was tried and what to do."""


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """What is made meanwhile is for this user alone: a database may lie outside the private home."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def alone(home: Path, out: Callable[[str], object]) -> Iterator[None]:
    """One set-up of a home at a time: each would remove what the other is about to install."""
    path = home / "run" / "setup.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            out("another set-up is at work here: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def timed(name: str, act: Callable[[], str], out: Callable[[str], object]) -> None:
    """Run one step and say what it did and how long that took."""
    began = time.monotonic()
    first, *further = act().splitlines()
    out(f"{name:<10} {first} ({time.monotonic() - began:.1f} s)")
    for line in further:
        out(f"{'':<10} {line}")


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    tries: int = 3,
    timeout_s: float = 900.0,
) -> str:
    """Run a command that may fail for a moment; returns its output.

    Raises `SetupError` with the last lines it printed once all tries failed.
    """
    failure = ""
    for pause_s in (*PAUSES_S[: tries - 1], None):
        try:
            done = subprocess.run(
                list(command),
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
            if done.returncode == 0:
                return done.stdout
            failure = f"exit code {done.returncode}:\n{last_lines(done.stdout)}"
        except subprocess.TimeoutExpired:
            failure = f"no end within {timeout_s:.0f} s"
        except OSError as error:
            raise SetupError(f"{command[0]} cannot be run: {error}") from error
        if pause_s is not None:
            time.sleep(pause_s)
    raise SetupError(f"`{' '.join(command)}` failed {tries} times, last with {failure}")


def last_lines(text: str, count: int = 8) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-count:])
