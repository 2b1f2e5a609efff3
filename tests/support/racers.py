"""Processes that do something at the same moment, each with its own connection to the tests' database."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

Racing = Generator[None, None, Any]
"""What is before its `yield` prepares; what comes after it is done at the same moment as the others'."""
Job = tuple[Callable[..., Racing], tuple[Any, ...]]
_WITHIN_S = 180.0


class Lost(AssertionError):
    """A racer failed; the message is its traceback."""


class Racers:
    def __init__(self, lanes: Sequence[Connection]) -> None:
        self._lanes = lanes

    def race(self, *jobs: Job) -> list[Any]:
        """Let as many racers as there are jobs do one each; returns what they return.

        Raises:
            Lost.
        """
        lanes = self._lanes[: len(jobs)]
        for lane, job in zip(lanes, jobs, strict=True):
            lane.send((len(jobs), *job))
        answers = []
        for lane in lanes:
            if not lane.poll(_WITHIN_S):
                raise Lost(f"no answer within {_WITHIN_S:g} s")
            answers.append(lane.recv())
        for _, failure in answers:
            if failure:
                raise Lost(failure)
        return [answer for answer, _ in answers]


@contextlib.contextmanager
def racers(count: int, environment: dict[str, str]) -> Iterator[Racers]:
    """Start so many processes, with their share of the environment; they end with this one."""
    context = multiprocessing.get_context("spawn")
    barriers = {several: context.Barrier(several) for several in range(1, count + 1)}
    pairs = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=_serve, args=(theirs, barriers, environment), daemon=True)
        for _, theirs in pairs
    ]
    for process, (_, theirs) in zip(processes, pairs, strict=True):
        process.start()
        theirs.close()
    try:
        yield Racers([ours for ours, _ in pairs])
    finally:
        for process in processes:
            process.kill()
            process.join(_WITHIN_S)


def _serve(lane: Connection, barriers: dict[int, Barrier], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    from inference.client.opening import set_up_django

    set_up_django()
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            several, function, arguments = lane.recv()
            lane.send(_take_part(barriers[several], function, arguments))


def _take_part(barrier: Barrier, function: Callable[..., Racing], arguments: Any) -> Any:
    try:
        racing = function(*arguments)
        try:
            next(racing)
        finally:  # the others wait for it
            barrier.wait(_WITHIN_S)
        next(racing)
    except StopIteration as end:
        return end.value, None
    except Exception:
        return None, traceback.format_exc()
    raise AssertionError(f"{function.__name__} yields twice")
