"""The thread of a browser's worker that computes the steps of the sessions that it holds stages of.

It waits for the inputs of all of them at once and takes one of each in turn. In the page's engine its steps
take turns with the tasks of the main thread.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import redis.exceptions
from django.conf import settings

from browsers.core.failures import Category
from browsers.redis import blocking_client
from browsers.worker import BrowserWorker
from inference.generation import streams
from inference.generation.stage import Closed, HeldStage, Lost
from inference.generation.streams import Said

log = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 5.0
_BLOCK_MS: Final = 1000
_AGAIN_S: Final = 0.1


class DecodeLoop:
    """`open` is called by the main thread, everything else is the loop's own."""

    def __init__(self, worker: BrowserWorker) -> None:
        self._worker = worker
        self._held: dict[str, HeldStage] = {}
        self._opened = threading.Event()
        self._woken = "0-0"
        self._looked = time.monotonic()
        threading.Thread(target=self._run, name="decoding", daemon=True).start()

    def open(self, held: HeldStage) -> None:
        """Take a stage that is loaded; one that was here under an earlier epoch is forgotten."""
        self._held[held.holder] = held
        self._opened.set()
        try:
            streams.wake(self._worker.id)
        except redis.exceptions.RedisError:
            log.info("%s: %s is looked at a moment later", self._worker.id, held.holder)

    def _run(self) -> None:
        while True:
            if not self._held:
                self._opened.wait()
            self._opened.clear()
            try:
                self._turn()
            except redis.exceptions.RedisError as error:
                log.warning("%s: the store does not answer: %s", self._worker.id, error)
                time.sleep(_AGAIN_S)
            except Exception:
                log.exception("%s: decoding", self._worker.id)
                time.sleep(_AGAIN_S)

    def _turn(self) -> None:
        """Wait for inputs, and compute one of each stage that has one."""
        held = {streams.in_key(each.session, each.index).encode(): each for each in self._stages()}
        wake = streams.wake_key(self._worker.id).encode()
        asked: dict[Any, Any] = {key: each.cursor for key, each in held.items()}
        found: Any = blocking_client().xread({**asked, wake: self._woken}, 1, _BLOCK_MS)
        for key, entries in found or ():
            entry, fields = entries[0]
            if key == wake:
                self._woken = entry.decode()
            elif self._held.get(held[key].holder) is held[key]:
                self._step(held[key], entry.decode(), fields)
        self._look_after()

    def _stages(self) -> list[HeldStage]:
        return list(self._held.values())

    def _step(self, held: HeldStage, entry: str, fields: dict[bytes, bytes]) -> None:
        if streams.END in fields:
            self._close(held)
            return
        self._guarded(held, lambda: held.step(self._worker, entry, fields[streams.FRAME]))

    def _guarded(self, held: HeldStage, work: Callable[[], object]) -> None:
        """Do it; what ends the stage here is told to the control worker."""
        try:
            work()
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
        streams.tell_lost(held.session, held.index, held.epoch, category, why)

    def _close(self, held: HeldStage) -> None:
        if self._held.get(held.holder) is held:
            del self._held[held.holder]
            self._worker.session.decoding.release(held.holder)

    def _look_after(self) -> None:
        """Close what nobody wants any more, where its end was not heard."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        for held in self._stages():
            if now - held.used > settings.WEBPOOL_SESSION_IDLE_S:
                self._lose(held, Category.TIMEOUT, "nothing came to it for long")
            elif now - held.used > _LOOK_EVERY_S:
                said = streams.standing(held.session, held.index, held.epoch)
                if said is Said.GONE:
                    self._lose(held, Category.TENSOR_LOST, "the store has lost the session")
                elif said is not Said.NEW:
                    self._close(held)


@functools.cache
def loop_of(worker: BrowserWorker) -> DecodeLoop:
    """The one loop of this process."""
    return DecodeLoop(worker)
