"""A pool for a script: the one that runs, or one of its own, which ends with the script whatever ends that.

1. A pool whose browsers publish themselves in Redis runs already: it is joined, and left alone at the end.
2. Else `manage.py up` is started as a child, and stopped when the last holder in this process releases it, or
   at the process's end. The kernel kills it when this process is killed; its own children follow it.
3. A child that finds that somebody else's pool is just starting ends; then that one is waited for.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from inference.documents import JsonObject
from inference.errors import Unavailable

_STOP_WITHIN_S = 45.0
_ASK_EVERY_S = 0.1
# Behind the deadlines that `manage.py up` itself has for its processes.
_CORE_STARTS_WITHIN_S = 240.0


def set_up_django() -> None:
    """Make models and settings usable in a plain script; nothing where they are."""
    import django
    from django.apps import apps

    if not apps.ready:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
        django.setup()


class PoolHandle:
    """A holder's share of the pool. `started_here`: this process started it."""

    def __init__(self, *, started_here: bool) -> None:
        self.started_here = started_here
        self._open = True

    def release(self) -> None:
        """Give it up; the last release stops a pool that this process started. Idempotent."""
        if self._open:
            self._open = False
            if self.started_here:
                _OWN.release()


def open_pool(
    *, environment: Mapping[str, str] | None = None, cancelled: threading.Event | None = None
) -> PoolHandle:
    """Join the running pool or start one; returns when it is ready.

    Args:
        environment: settings of a pool that is started here.
        cancelled: set by somebody who no longer wants it: the start ends.

    Raises:
        Unavailable: the pool did not start; the message carries its last words.
    """
    return _OWN.open(environment or {}, cancelled or threading.Event())


def running() -> bool:
    """Whether a browser of a pool on this home publishes itself."""
    import redis.exceptions

    from browsers.state.live import living

    try:
        return bool(living())
    except redis.exceptions.RedisError:
        return False


def pool_facts() -> JsonObject:
    """What the pool on this home wrote about itself when it started; empty where there is none."""
    from django.conf import settings

    try:
        facts = json.loads((settings.WEBPOOL_HOME / "run" / "pool.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def history_path() -> Path:
    """The history file of the pool on this home: what it says, else what the settings say."""
    from django.conf import settings

    told = pool_facts().get("history")
    return Path(told) if isinstance(told, str) else settings.WEBPOOL_HISTORY_PATH.resolve()


class _OwnPool:
    """The pool that this process started, if it did, and how many hold it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._child: _Child | None = None

    def open(self, environment: Mapping[str, str], cancelled: threading.Event) -> PoolHandle:
        with self._lock:
            if self._child is not None and self._child.alive():
                self._holders += 1
                return PoolHandle(started_here=True)
            if running():
                return PoolHandle(started_here=False)
            self._holders, self._child = 0, None
            child = _Child(environment)
            try:
                ours = child.wait_ready(cancelled)
            except BaseException:
                child.stop()
                raise
            if not ours:
                return PoolHandle(started_here=False)
            self._child, self._holders = child, 1
            atexit.register(self.stop)
            return PoolHandle(started_here=True)

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders > 0 or self._child is None:
                return
        self.stop()

    def stop(self) -> None:
        with self._lock:
            child, self._child, self._holders = self._child, None, 0
            if child is not None:
                atexit.unregister(self.stop)
                child.stop()


class _Child:
    """`manage.py up` as a child of this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        from django.conf import settings

        from browsers.processes import spawn

        self._home: Path = settings.WEBPOOL_HOME
        self._start_s = settings.WEBPOOL_BROWSER_START_S + _CORE_STARTS_WITHIN_S
        self._owner = os.getpid()
        self._ready_file = self._home / "run" / f"script.{self._owner}.ready"
        self._log = self._home / "logs" / "script-pool.log"
        self._ready_file.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        self._process: subprocess.Popen[bytes] = spawn(
            [
                sys.executable, "-m", "webpool_site.command_line", "up", "--no-web",
                "--ready-file", str(self._ready_file),
            ],
            env={**os.environ, **environment, "WEBPOOL_HOME": str(self._home)},
            log_path=self._log,
            contained=False,
        )  # fmt: skip

    def alive(self) -> bool:
        return os.getpid() == self._owner and self._process.poll() is None

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until the pool serves; False when it is another process's pool that does.

        Raises:
            Unavailable: it did not start, in time or at all.
        """
        until = time.monotonic() + self._start_s
        while time.monotonic() < until:
            if cancelled.wait(_ASK_EVERY_S):
                raise Unavailable("the pool was being started, and is no longer wanted")
            if (told := self._told()) is not None:
                if told["browsers"]:
                    return True
                raise Unavailable(f"no browser of the pool started: {told['missing']}")
            if self._process.poll() is not None:
                return self._wait_for_the_other(until, cancelled)
        raise Unavailable(f"the pool was not ready within {self._start_s:g} s; {self._words()}")

    def _told(self) -> JsonObject | None:
        try:
            told: JsonObject = json.loads(self._ready_file.read_text())
        except (OSError, ValueError):
            return None
        return told

    def _wait_for_the_other(self, until: float, cancelled: threading.Event) -> bool:
        import psutil

        other = pool_facts().get("pid")
        if not isinstance(other, int) or other == self._process.pid:
            raise Unavailable(f"the pool did not start: {self._words()}")
        while time.monotonic() < until and psutil.pid_exists(other):
            if running():
                return False
            if cancelled.wait(_ASK_EVERY_S):
                raise Unavailable("a pool was being waited for, and is no longer wanted")
        raise Unavailable(f"the pool did not start: {self._words()}")

    def _words(self) -> str:
        lines = (
            self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        )
        return f"its last words, in {self._log}: {' / '.join(lines[-3:]) or 'none'}"

    def stop(self) -> None:
        """Stop it and everything it started; by another process than its owner: nothing."""
        from browsers.processes import stop

        if os.getpid() == self._owner:
            stop(self._process, deadline_s=_STOP_WITHIN_S)
            with contextlib.suppress(OSError):
                self._ready_file.unlink(missing_ok=True)


_OWN = _OwnPool()
