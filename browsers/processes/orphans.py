"""What an earlier life left running, found by the marks in its environment, and killed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from browsers.processes.trees import kill_all, pid_namespace, running, session_of

MARK_PROFILE = "WEBPOOL_BROWSER"
"""Environment variable of a driver and its descendants: the browser's private directory."""

MARK_OWNER = "WEBPOOL_OWNER"
"""Environment variable of a driver and its descendants: `<pid>:<start>` of the process that owns it."""


def start_mark(pid: int) -> str | None:
    """When process `pid` started, as this system counts it; None when there is no such process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.Error:
        return None


def marks(profile_dir: Path) -> dict[str, str]:
    """The environment by which a later life recognises what this process started."""
    return {
        MARK_PROFILE: str(profile_dir.resolve()),
        MARK_OWNER: f"{os.getpid()}:{start_mark(os.getpid())}",
    }


@dataclass(frozen=True)
class Orphan:
    """A process of an earlier life that was killed; `gone` is False when even SIGKILL did not end it."""

    pid: int
    name: str
    profile_dir: str
    gone: bool


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}
    return {key: raw[key] for key in (MARK_PROFILE, MARK_OWNER) if key in raw}


def _owner_lives(mark: str) -> bool:
    pid, _, start = mark.partition(":")
    return pid.isdigit() and start_mark(int(pid)) == start


def _below(path: str, home: Path) -> bool:
    return Path(path).is_relative_to(home)


def find_orphans(home: Path) -> dict[psutil.Process, str]:
    """Processes of browsers below `home` whose owner is gone, with the browser's private directory.

    A process counts by its environment; its descendants, the rest of its session and of its PID
    namespace count with it, because browsers overwrite the environment of some of their children.
    """
    home = home.resolve()
    found: dict[psutil.Process, str] = {}
    own_session, own_space = session_of(os.getpid()), pid_namespace(os.getpid())
    sessions: dict[int, str] = {}
    spaces: dict[str, str] = {}
    everything = [p for p in psutil.process_iter() if p.pid != os.getpid()]
    for process in everything:
        mark = _environment(process.pid)
        profile, owner = mark.get(MARK_PROFILE, ""), mark.get(MARK_OWNER, "")
        if not profile or not _below(profile, home) or _owner_lives(owner):
            continue
        found[process] = profile
        session, space = session_of(process.pid), pid_namespace(process.pid)
        if session is not None and session != own_session:
            sessions[session] = profile
        if space is not None and space != own_space:
            spaces[space] = profile
        with contextlib.suppress(psutil.Error):
            for child in process.children(recursive=True):
                found.setdefault(child, profile)
    for process in everything if found else ():
        if process in found:
            continue
        session, space = session_of(process.pid), pid_namespace(process.pid)
        profile = sessions.get(session or -1, "") or spaces.get(space or "", "")
        if profile and not _owner_lives(_environment(process.pid).get(MARK_OWNER, "")):
            found[process] = profile
    return {process: profile for process, profile in found.items() if running(process)}


def reap_orphans(home: Path, *, deadline_s: float = 5.0) -> tuple[Orphan, ...]:
    """Kill what dead owners left running of browsers whose private directory is below `home`.

    Safe at any time: a process whose owner lives is never touched. Returns what was killed.
    """
    until = time.monotonic() + deadline_s
    killed: dict[psutil.Process, tuple[str, str]] = {}
    while orphans := find_orphans(home):
        for process, profile in orphans.items():
            try:
                name = process.name()
            except psutil.Error:
                name = ""
            killed.setdefault(process, (name, profile))
        kill_all(orphans, deadline_s=1.0)
        if time.monotonic() >= until:
            break
    return tuple(
        Orphan(pid=process.pid, name=name, profile_dir=profile, gone=not running(process))
        for process, (name, profile) in killed.items()
    )
