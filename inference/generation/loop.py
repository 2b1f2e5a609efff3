"""The thread of a browser's worker that computes the steps of the sessions that it holds stages of.

It waits for the inputs of all of them at once, and computes them in rounds (core/generation/rounds.py).
In the page's engine its rounds take turns with the tasks of the main thread.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import redis.exceptions
from django.conf import settings

from browsers.bridge import Refusal, Reply
from browsers.core.errors import BrowserError
from browsers.core.failures import Category
from browsers.session.decoding import StepAsked
from browsers.worker import BrowserWorker
from inference.core.generation import control
from inference.core.generation.rounds import Waiting, rounds
from inference.generation import streams
from inference.generation.exchange import Exchange
from inference.generation.kept import KeptStages
from inference.generation.scripts import Found
from inference.generation.stage import HeldStage
from inference.generation.streams import Said
from inference.generation.takeover.outcomes import LOOK_AGAIN_S, Closed, Lost

log = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 5.0
_BLOCK_MS: Final = 1000
_AHEAD_MS: Final = round(LOOK_AGAIN_S * 1000)
_AGAIN_S: Final = 0.1

Outcome = TypeVar("Outcome")


class DecodeLoop:
    """`open` is called by the main thread, everything else is the loop's own."""

    def __init__(self, worker: BrowserWorker) -> None:
        self._worker = worker
        self._held: dict[str, HeldStage] = {}
        self._kept = KeptStages(worker)
        self._exchange = Exchange()
        self._opened = threading.Event()
        self._woken = "0-0"
        self._to_look = False  # whether a standby may have become the stage's own
        self._looked = time.monotonic()
        threading.Thread(target=self._run, name="decoding", daemon=True).start()

    def open(self, held: HeldStage) -> None:
        """Take a stage that is loaded; one that was here under an earlier epoch is forgotten."""
        self._held[held.holder] = held
        for each in self._stages():
            each.allow_anew()
        self._opened.set()
        try:
            streams.wake(self._worker.id)
        except redis.exceptions.RedisError:
            log.info("%s: %s is looked at a moment later", self._worker.id, held.holder)

    def _run(self) -> None:
        while True:
            try:
                while not self._held and not self._opened.wait(self._rest_s()):
                    self._look_after()
                self._opened.clear()
                self._turn()
            except redis.exceptions.RedisError as error:
                log.warning("%s: the store does not answer: %s", self._worker.id, error)
                time.sleep(_AGAIN_S)
            except Exception:
                log.exception("%s: decoding", self._worker.id)
                time.sleep(_AGAIN_S)

    def _rest_s(self) -> float | None:
        """For how long nothing need be looked at, without a stage."""
        return _LOOK_EVERY_S if self._kept.any else None

    def _turn(self) -> None:
        """Wait for inputs, and compute a round of those that are there."""
        self._look_at_standbys()
        if not any(held.ready for held in self._stages()):
            ahead = any(held.ahead for held in self._stages())
            self._take(self._exchange.wait(self._read(), _AHEAD_MS if ahead else _BLOCK_MS))
            self._look_at_standbys()
        for round_ in self._rounds():
            self._compute([held for held in round_ if self._held.get(held.holder) is held])
        self._look_after()

    def _rounds(self) -> Sequence[Sequence[HeldStage]]:
        """Those whose next step can be computed, in rounds."""
        stages = self._stages()
        ready = [held for held in stages if held.ready]
        if len(ready) < 2:
            return [ready] if ready else []
        waiting = [
            Waiting(
                held,
                held.next.sure,
                held.used,
                held.run,
                held.times.usual_s(),
                follows=held.follows,
            )
            for held in ready
            if held.next is not None
        ]
        return rounds(waiting, held=len(stages), stages=max(held.stages for held in stages))

    def _stages(self) -> list[HeldStage]:
        return list(self._held.values())

    def _read(self) -> dict[str, str]:
        """After which entry of each stream something new is to be read."""
        idle = {held.key: held.cursor for held in self._stages() if held.next is None}
        return {**idle, streams.wake_key(self._worker.id): self._woken}

    def _take(self, found: Found) -> None:
        held = {each.key: each for each in self._stages()}
        for key, entries in found:
            entry, fields = entries[0]
            each = held.get(key.decode())
            if each is None:
                if key.decode() == streams.wake_key(self._worker.id):
                    self._woken, self._to_look = entry.decode(), True
            elif streams.END in fields:
                self._close(each, keep=fields[streams.END] == streams.KEEP)
            elif each.next is None and self._exchange.after.get(each.key) == each.cursor:
                # else it was wanted by one that was here before
                each.came(entry.decode(), fields[streams.FRAME])

    def _look_at_standbys(self) -> None:
        """Whether one of them has become the stage's own, or may go on, after it."""
        if self._to_look:
            for held in self._stages():
                if held.follows:
                    self._guarded(held, functools.partial(held.look, self._worker.id))
            self._to_look = False
        for held in self._stages():
            if held.unsettled:
                self._guarded(held, held.settle)

    def _compute(self, stages: Sequence[HeldStage]) -> None:
        """Their next steps, together, and what comes of them passed on."""
        self._let_wait(stages)
        asked = []
        for held in stages:
            kept = self._kept.place_of(held.prefix.holder) if held.prefix is not None else None
            step = self._guarded(held, functools.partial(held.ask, kept))
            if step is not None:
                asked.append((held, step))
        replies, took_s = self._ask_page(asked)
        calls = []
        for (held, _), reply in zip(asked, replies, strict=True):
            give = functools.partial(held.given, self._worker, reply)
            if (call := self._guarded(held, give)) is not None:
                calls.append((held, call))
        if not calls:
            _note(asked, replies, took_s)
            return
        after = {held.key: held.next.entry for held, _ in calls if held.next is not None}
        others = any(held.ready and held.key not in after for held in self._stages())
        most_ms = _AHEAD_MS if any(held.follows for held in self._stages()) else _BLOCK_MS
        answers = self._exchange.pass_on(
            [call for _, call in calls], {**self._read(), **after}, 0 if others else most_ms
        )
        _note(asked, replies, took_s)  # the next stage is at it by now
        usual_s = sum(each.times.usual_s() for each in self._stages())
        for (held, call), answer in zip(calls, answers, strict=True):
            beside_s = usual_s - held.times.usual_s()
            self._guarded(held, functools.partial(held.passed, answer, call, beside_s))
        if others:
            self._take(self._exchange.wait({}, 0))

    def _let_wait(self, first: Sequence[HeldStage]) -> None:
        """While a piece of a prompt is computed nobody else's step is late."""
        if any(held.next is not None and held.next.sure > 1 for held in first):
            for held in self._stages():
                if all(held is not each for each in first):
                    self._guarded(held, held.waits)

    def _ask_page(
        self, asked: Sequence[tuple[HeldStage, StepAsked]]
    ) -> tuple[Sequence[Reply | Refusal], float | None]:
        """What the page answers, and how long that took; None: that says nothing of what steps take."""
        if not asked:
            return [], None
        stages, steps = [held for held, _ in asked], [step for _, step in asked]
        measured = self._are_measured(stages)
        began = time.monotonic()
        try:
            replies = self._worker.session.decoding.steps(
                steps, timeout_s=_round_s(stages, measured=measured)
            )
        except BrowserError as error:
            return [error] * len(asked), None
        return replies, time.monotonic() - began if measured else None

    def _are_measured(self, stages: Sequence[HeldStage]) -> bool:
        """Of one token each; while the worker's main thread is at work the steps wait for their turn."""
        short = all(held.next is not None and held.next.sure == 1 for held in stages)
        return short and self._worker.status.idle_since is not None

    def _guarded(self, held: HeldStage, work: Callable[[], Outcome]) -> Outcome | None:
        """Do it; None: the stage ended here, and the control worker is told why."""
        try:
            return work()
        except Closed:
            self._close(held)
        except Lost as lost:
            if lost.category is Category.TIMEOUT:
                self._lose_all(lost.category, str(lost))
            else:
                self._lose(held, lost.category, str(lost))
        except redis.exceptions.OutOfMemoryError as error:
            self._lose(held, Category.OUT_OF_MEMORY, f"the store is full: {error}")
        except redis.exceptions.RedisError:
            raise  # the same step is done again
        except Exception as error:
            log.exception("%s: %s", self._worker.id, held.holder)
            self._lose(held, Category.INTERNAL, f"{type(error).__name__}: {error}")
        return None

    def _lose(self, held: HeldStage, category: Category, why: str) -> None:
        self._tell_lost(held, category, why)
        self._close(held)

    def _lose_all(self, category: Category, why: str) -> None:
        """The page hangs: it may not even free what it holds."""
        lost = self._stages()
        for held in lost:
            self._tell_lost(held, category, why)
        for held in lost:
            self._close(held)

    def _tell_lost(self, held: HeldStage, category: Category, why: str) -> None:
        log.warning("%s lost %s: %s", self._worker.id, held.holder, why)
        streams.tell_control(control.Lost(held.session, held.index, held.epoch, category, why))

    def _close(self, held: HeldStage, *, keep: bool = False) -> None:
        if self._held.get(held.holder) is held:
            del self._held[held.holder]
            if held.follows or not (keep and self._kept.keep(held)):
                self._worker.session.decoding.release(held.holder)

    def _look_after(self) -> None:
        """Close what nobody wants any more, where its end was not heard."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        self._kept.look_after(now)
        self._to_look = True
        for held in self._stages():
            if now - held.used > settings.WEBPOOL_SESSION_IDLE_S:
                self._lose(held, Category.TIMEOUT, "nothing came to it for long")
            elif now - held.used > _LOOK_EVERY_S:
                said = streams.standing(held.session, held.index, held.epoch)
                if said is Said.GONE:
                    self._lose(held, Category.TENSOR_LOST, "the store has lost the session")
                elif said not in (Said.NEW, Said.FOLLOWS):
                    self._close(held)


def _note(
    asked: Sequence[tuple[HeldStage, StepAsked]],
    replies: Sequence[Reply | Refusal],
    took_s: float | None,
) -> None:
    """How long a step of each took, where it was measured."""
    if took_s is None:
        return
    each_s = took_s / _runs(replies)
    for (held, _), reply in zip(asked, replies, strict=True):
        if not isinstance(reply, Exception):
            held.times.note(each_s)


def _runs(replies: Sequence[Reply | Refusal]) -> float:
    """In how many runs of a model they were computed; those that were refused count as one each."""
    return sum(
        1.0 if isinstance(each, Exception) else 1.0 / each[0].get("together", 1) for each in replies
    )


def _round_s(stages: Sequence[HeldStage], *, measured: bool) -> float:
    """How long the page may take for a step of each: at worst they are computed one after another.

    A page that stands still does so for all of them: the least that a step may take counts once. Those that
    were never measured have the time of one in all: a page that hangs is to be noticed.
    """
    slow = [held.times.slow_s() if measured else None for held in stages]
    known = sum(each for each in slow if each is not None)
    least = [
        held.times.at_least_s for held, each in zip(stages, slow, strict=True) if each is not None
    ]
    unknown = [held.timeout_s for held, each in zip(stages, slow, strict=True) if each is None]
    return max(known, *least, 0.0) + max(unknown, default=0.0)


@functools.cache
def loop_of(worker: BrowserWorker) -> DecodeLoop:
    """The one loop of this process."""
    return DecodeLoop(worker)
