"""Starting children that die with this process, and ending one politely."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from browsers.lifeline import dies_with_parent
from browsers.processes.containment import containment


class _Spawner:
    """A thread that creates all children and outlives whoever asked: PDEATHSIG follows the thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="webpool-spawner", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

    def start(self, create: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        done = threading.Event()
        made: list[subprocess.Popen[bytes]] = []
        failed: list[BaseException] = []

        def job() -> None:
            try:
                made.append(create())
            except BaseException as error:
                failed.append(error)
            finally:
                done.set()

        self._work.put(job)
        done.wait()
        if failed:
            raise failed[0]
        return made[0]


_spawner: _Spawner | None = None
_spawner_lock = threading.Lock()


def _forget_spawner() -> None:
    """Threads do not survive a fork, and a lock held by one of them would stay held for ever."""
    global _spawner, _spawner_lock
    _spawner = None
    _spawner_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_spawner)


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    contained: bool = True,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, stdout and stderr appended to `log_path`.

    `contained=False` leaves out the PID namespace (for a program that writes its process id where
    others read it) but keeps the death signal. OSError when the program cannot be started.
    """
    global _spawner
    rule = containment()
    if contained:
        wrapped = rule.wrap(command)
    else:
        wrapped = [*dies_with_parent(), *command]
    with _spawner_lock:
        if _spawner is None:
            _spawner = _Spawner()
        spawner = _spawner
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return spawner.start(
            lambda: subprocess.Popen(
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(env),
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        )


def stop(process: subprocess.Popen[bytes], *, deadline_s: float) -> None:
    """End one child: SIGTERM, then SIGKILL at the deadline; returns when it is collected."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(deadline_s)
    if process.poll() is None:
        process.kill()
    process.wait()
