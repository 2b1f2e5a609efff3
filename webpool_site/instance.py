"""One pool per home: a lock that the kernel releases whatever ends its holder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path


class AlreadyRunning(Exception):
    """Another pool runs on this home; `pid` is its process."""

    def __init__(self, home: Path, pid: int | None) -> None:
        self.pid = pid
        whose = f"process {pid}" if pid else "another process"
        super().__init__(
            f"a pool runs on {home} already ({whose}). Stop it (Ctrl-C there, or kill {pid or '…'}), "
            "or set WEBPOOL_HOME to another folder"
        )


class Instance:
    """Holds `<home>/run/pool.lock`; `pool.json` beside it says who, and where its web server is.

    A file left by `kill -9` stops nobody: the lock is what counts, and the kernel released it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock_path = home / "run" / "pool.lock"
        self._facts_path = home / "run" / "pool.json"
        self._descriptor: int | None = None

    def acquire(self, **facts: object) -> None:
        """Raises `AlreadyRunning`."""
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            pid = self.facts().get("pid")
            raise AlreadyRunning(self._home, pid if isinstance(pid, int) else None) from None
        self._descriptor = descriptor
        record = {"pid": os.getpid(), "started": time.time(), **facts}
        self._facts_path.write_text(json.dumps(record))

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, so that what runs on the home is its own."""
        return self._descriptor is not None

    def release(self) -> None:
        if self._descriptor is not None:
            self._facts_path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def facts(self) -> dict[str, object]:
        """What the holder wrote, which may be a dead one's; `running` tells."""
        try:
            record = json.loads(self._facts_path.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def running(self) -> bool:
        """Whether some process holds the lock now."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def __enter__(self) -> Instance:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
