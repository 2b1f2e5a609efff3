"""A process tree that is looked at again and again: a look reads a line of each of it, and who came since.

`tree` reads every process of the machine, which costs the more the more there are, whosoever they are.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass

import psutil

from browsers.process_stat import Stat, stat
from browsers.processes.trees import pid_namespace, session_of, tree

_ANEW_S = 60.0


@dataclass(frozen=True)
class Seen:
    """A process of the tree, as it was at a look."""

    process: psutil.Process
    stat: Stat

    @property
    def identity(self) -> tuple[int, float]:
        return self.process.pid, self.stat.started


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
        self._there: frozenset[int] = frozenset()
        self._tree: dict[int, Seen] = {}
        self._spaces: dict[int, str] = {}
        self._anew_at = float("-inf")

    def look(self) -> list[Seen]:
        """The tree as it is now, zombies left out."""
        with self._lock:
            there = frozenset(psutil.pids())
            if time.monotonic() >= self._anew_at:
                self._tree = {}
                for process in tree(self._root):
                    self._add(process)
                self._anew_at = time.monotonic() + _ANEW_S
            else:
                ended = self._look_again()
                self._find(sorted((there - self._there) | (there & ended)))
            self._there = there
            self._spaces = {pid: it for pid, it in self._spaces.items() if pid in self._tree}
            return list(self._tree.values())

    def _look_again(self) -> set[int]:
        """Who ended; the number may be somebody else's by now."""
        before, self._tree = self._tree, {}
        for pid, seen in before.items():
            now = stat(pid)
            if now is not None and not now.ended and now.started == seen.stat.started:
                self._tree[pid] = Seen(seen.process, now)
        return before.keys() - self._tree.keys()

    def _find(self, new: list[int]) -> None:
        for pid in new:
            if pid not in self._tree and self._belongs(pid):
                with contextlib.suppress(psutil.Error):
                    self._add(psutil.Process(pid))

    def _add(self, process: psutil.Process) -> None:
        now = stat(process.pid)
        if now is None or now.ended:
            return
        self._tree[process.pid] = Seen(process, now)
        space = pid_namespace(process.pid)
        if space is not None and space != self._own:
            self._spaces[process.pid] = space

    def _belongs(self, pid: int) -> bool:
        if pid_namespace(pid) in self._spaces.values() or session_of(pid) == self._root.pid:
            return True
        now = stat(pid)
        return now is not None and now.parent in self._tree
