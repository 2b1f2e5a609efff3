"""Ask a sandboxed child: one question, or a session of many to one child."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from inference.documents import Array, JsonObject, JsonView
from inference.sandbox import frames, jobs
from inference.sandbox.frames import Answer, BadFrame
from inference.sandbox.helper import Helper, helper
from inference.sandbox.limits import Limits, limits_for
from inference.sandbox.places import AT_ONCE, Places

log = logging.getLogger(__name__)
_END_S: Final = 10.0
_KEPT_SHARE: Final = 1 / 4  # of its limit
_LONGER: Final = 4  # what gives way to others may wait for them, beside what it computes
PLACES: Final = Places("a model, a plan or a file read")
"""Of this process's jobs, but those that have places of their own."""
MEDIA: Final = Places("a sound or a picture read", each=AT_ONCE - 1, most_waiting=None)
"""Of what somebody waits for while it is a part of one request, which are counted elsewhere."""
_BY_MEMORY: Final = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)


class Refused(ValueError):
    """The job says that what it was given is wrong; `kind` is the name of its exception."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Ended(Refused):
    """The child was ended: too much memory, too much time, a signal; the message says which.

    `by_signal`: by one that its own computation raised; `too_long`: it was out of time.
    """

    def __init__(self, message: str, *, by_signal: bool = False, too_long: bool = False) -> None:
        super().__init__(message)
        self.by_signal, self.too_long = by_signal, too_long


class Failed(RuntimeError):
    """The job broke in a way that nobody meant; its own words, the traceback is in the log."""


def ask(
    job: str,
    *,
    reads: Sequence[Path] = (),
    writes: Path | None = None,
    limits: Limits | None = None,
    arrays: Mapping[str, Array] | None = None,
    places: Places = PLACES,
    **given: object,
) -> Answer:
    """Do one job in a child of its own.

    Args:
        reads: what it may read, beside Python's own files.
        writes: a folder that it may write to.
        limits: None: those for the files that it reads.
        places: what it waits for; of the usual ones there are as many as this machine has cores.
        given: what the job takes, as JSON can say it; `arrays` beside it.

    Raises:
        Refused: the job refuses what it was given.
        Ended: the child did not survive it.
        Failed: an error of ours.
        Busy: too many jobs of the owner wait.
        OSError: the disk is full.
    """
    with places.taken(), Session(job, reads, writes, limits or limits_for(reads)) as session:
        return session.first(given, arrays)


def opened(
    job: str, *, reads: Sequence[Path] = (), limits: Limits | None = None, **given: object
) -> Session:
    """A job that answers many questions; close it, or let it go.

    Raises:
        As `ask`.
    """
    session = Session(job, reads, None, limits or limits_for(reads))
    try:
        session.first(given)
    except BaseException:
        session.close()
        raise
    return session


class Session:
    """One child, and what is asked of it. To be used by one thread at a time."""

    def __init__(
        self, job: str, reads: Sequence[Path], writes: Path | None, limits: Limits
    ) -> None:
        self._job, self._limits = job, limits
        gives_way = job in jobs.GIVING_WAY
        self._seconds = limits.seconds * (_LONGER if gives_way else 1)
        mine, theirs = socket.socketpair()
        ended, status = os.pipe()
        confine = {
            "memory_mb": limits.memory_mb,
            "cpu_s": int(limits.seconds * (os.cpu_count() or 1)) + 60,
            "file_bytes": limits.file_bytes,
            "reads": [str(path.resolve()) for path in reads],
            "writes": None if writes is None else str(writes.resolve()),
            "gives_way": gives_way,
        }
        try:
            self._helper, self._number = _open(confine, theirs, status)
        except BaseException:
            mine.close()
            os.close(ended)
            raise
        finally:
            theirs.close()
            os.close(status)
        self._grown_mb = 0.0
        self._socket, self._ended = mine, ended
        self._close = weakref.finalize(self, _closed, mine, ended)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The child ends, whatever it does."""
        if self._close.alive:
            self._helper.end(self._number)
        self._close()

    def ended(self) -> bool:
        """Whether the child is gone already, between two questions."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return bool(readable)

    @property
    def grown(self) -> bool:
        """Whether the child has kept so much of what it was asked that another had better answer next.

        What was large once stays with its process: allocators give little back.
        """
        return self._grown_mb > self._limits.memory_mb * _KEPT_SHARE

    def first(self, given: JsonView, arrays: Mapping[str, Array] | None = None) -> Answer:
        """Say which job it is."""
        return self._asked({"job": self._job, "given": given}, arrays)

    def ask(self, arrays: Mapping[str, Array] | None = None, **given: object) -> Answer:
        """Ask the job.

        Raises:
            As the module's `ask`.
        """
        return self._asked({"given": given}, arrays)

    def _asked(self, question: object, arrays: Mapping[str, Array] | None) -> Answer:
        until = time.monotonic() + self._seconds
        try:
            self._socket.settimeout(self._seconds)
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # what it says comes next
                frames.send(self._socket, question, arrays)
            answer = frames.receive(self._socket, until)
        except TimeoutError:
            self._helper.end(self._number)
            if self._exit_code() is None:
                self._helper.kill()  # it stands still, with all its children
            raise Ended(
                f"it took longer than {self._seconds:.0f} s, so it was stopped (the limit is "
                "WEBPOOL_SANDBOX_SECONDS)",
                too_long=True,
            ) from None
        except BadFrame as error:
            self._helper.end(self._number)
            raise Failed(
                f"a sandboxed {self._job} answered in no form that is known: {error}"
            ) from error
        if answer is None:
            raise self._death()
        return self._read(answer)

    def _read(self, answer: Answer) -> Answer:
        said = answer.document
        if not isinstance(said, dict):
            raise Failed(f"a sandboxed {self._job} answered {said!r:.100}")
        if "refused" in said:
            raise Refused(str(said["refused"]), str(said.get("kind", "")))
        if "full" in said:
            raise OSError(int(said["full"]), os.strerror(int(said["full"])))
        if "failed" in said:
            log.error("a sandboxed %s failed:\n%s", self._job, str(said.get("traceback"))[:4000])
            raise Failed(str(said["failed"]))
        grown = said.get("grown_mb")
        self._grown_mb = grown if isinstance(grown, float) else 0.0
        return Answer(said.get("answer"), answer.arrays)

    def _death(self) -> Exception:
        """What to raise about a child that closed its socket without an answer."""
        code = self._exit_code()
        limit = f"{self._limits.memory_mb} MB of memory (the limit is WEBPOOL_SANDBOX_MEMORY_MB)"
        if code == frames.OUT_OF_MEMORY:
            return Ended(f"it needed more than {limit}")
        if code is None or code >= 0:
            return Failed(f"a sandboxed {self._job} ended without an answer (exit status {code})")
        name = signal.Signals(-code)
        if name == signal.SIGXCPU:
            return Ended(
                "it computed too long, so it was stopped (the limit is WEBPOOL_SANDBOX_SECONDS)",
                too_long=True,
            )
        if name == signal.SIGKILL:
            return Ended("it was killed from outside; most often the machine has no memory left")
        more = f"; it may have needed more than {limit}" if name in _BY_MEMORY else ""
        said = signal.strsignal(name)
        return Ended(
            f"it ended the process that computed it ({name.name}: {said}){more}", by_signal=True
        )

    def _exit_code(self) -> int | None:
        """How the child ended, as Python writes it; None where the helper does not tell."""
        readable, _, _ = select.select([self._ended], [], [], _END_S)
        told = os.read(self._ended, 4096) if readable else b""
        return int(json.loads(told)["code"]) if told else None


def _open(confine: JsonObject, job: socket.socket, status: int) -> tuple[Helper, int]:
    found = helper()
    try:
        return found, found.open(confine, job, status)
    except OSError:  # it has died since it was looked at
        found.kill()
    found = helper()
    return found, found.open(confine, job, status)


def _closed(mine: socket.socket, ended: int) -> None:
    mine.close()
    os.close(ended)
