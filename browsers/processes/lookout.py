"""A process tree that is looked at again and again: each look reads what came since the last one.

`tree` reads every process of the machine, which costs the more the more there are, whosoever they are.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

import psutil

from browsers.processes.trees import pid_namespace, running, session_of, tree

_ANEW_S = 60.0


class Lookout:
    """Looks at the tree of one root, from any thread.

    A process belongs to it by its parent, its session or its PID namespace, as it was when it was first seen.
    What was handed to another parent before that, into another session and no namespace, is found within a
    minute: so whoever ends a tree asks `tree`.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._own = pid_namespace(os.getpid())
        self._lock = threading.Lock()
        self._seen: frozenset[int] = frozenset()
        self._tree: list[psutil.Process] = []
        self._spaces: set[str] = set()
        self._anew_at = float("-inf")

    def look(self) -> list[psutil.Process]:
        """The tree as it is now, zombies left out."""
        with self._lock:
            there = frozenset(psutil.pids())
            if time.monotonic() >= self._anew_at:
                self._tree = tree(self._root)
                self._anew_at = time.monotonic() + _ANEW_S
            else:
                self._tree = [process for process in self._tree if running(process)]
                self._add(sorted(there - self._seen))
            self._seen = there
            self._spaces = {space for process in self._tree if (space := self._space(process.pid))}
            return list(self._tree)

    def _add(self, new: list[int]) -> None:
        pids = {process.pid for process in self._tree}
        for pid in new:
            if pid in pids:  # it came while `tree` read the others
                continue
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if self._belongs(process, pids) and running(process):
                    self._tree.append(process)
                    pids.add(pid)

    def _belongs(self, process: psutil.Process, pids: set[int]) -> bool:
        return (
            self._space(process.pid) in self._spaces
            or session_of(process.pid) == self._root.pid
            or process.ppid() in pids
        )

    def _space(self, pid: int) -> str | None:
        """The process' PID namespace, where it is not everybody's."""
        space = pid_namespace(pid)
        return space if space != self._own else None
