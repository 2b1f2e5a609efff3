"""The caches that this worker's browser keeps of sessions that have ended: listed, expired, found again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from browsers.worker import BrowserWorker
from inference.core.generation.prefixes import LEAST
from inference.core.generation.sessions import Place
from inference.core.generation.stages import Use
from inference.generation import prefixes
from inference.generation.stage import HeldStage

_MOST: Final = 32  # in one browser


@dataclass(frozen=True)
class _Kept:
    """Of a stage no more than this: what it wrote with is let go, and so is what followed its form."""

    shelf: str
    session: str
    index: int
    place: Place
    since: float


class KeptStages:
    """Used by the decode loop's thread; the page may lose a cache, or give it up, at any time."""

    def __init__(self, worker: BrowserWorker) -> None:
        self._worker = worker
        self._held: dict[str, _Kept] = {}

    def keep(self, held: HeldStage) -> bool:
        """Keep the cache of a stage that has ended, and not one that it surpasses.

        False: it is too short, or goes with what an encoder made, which no other session brings.
        """
        place = held.place
        if settings.WEBPOOL_KEEP_S <= 0 or place is None or place.position < LEAST:
            return False
        if any(item.use is Use.MEMORY for item in held.stage.inputs):
            return False
        # The page first: what the store does not hear of then is freed all the same.
        self._worker.session.decoding.keep(held.holder, held.mb_per_position * place.position)
        kept = _Kept(held.shelf, held.session, held.index, place, time.monotonic())
        self._held[held.holder] = kept
        if held.prefix is not None and held.prefix.surpassed:
            self._drop(held.prefix.holder)
        instance = self._worker.status.instance
        prefixes.put(kept.shelf, kept.session, kept.index, self._worker.id, instance)
        while len(self._held) > _MOST:
            self._drop(next(iter(self._held)))
        return True

    @property
    def any(self) -> bool:
        return bool(self._held)

    def place_of(self, holder: str) -> Place | None:
        """What is kept under that name; None: it is not there any more."""
        self._forget_lost()
        found = self._held.get(holder)
        return found.place if found is not None else None

    def look_after(self, now: float) -> None:
        """Free what was kept long enough; list no more what is not there."""
        self._forget_lost()
        for holder, kept in list(self._held.items()):
            if now - kept.since > settings.WEBPOOL_KEEP_S:
                self._drop(holder)

    def _forget_lost(self) -> None:
        there = self._worker.session.decoding.kept.holders()
        for holder in [each for each in self._held if each not in there]:
            self._drop(holder)

    def _drop(self, holder: str) -> None:
        kept = self._held.pop(holder, None)
        if kept is not None:
            self._worker.session.decoding.kept.drop(holder)
            prefixes.remove(kept.shelf, kept.session, kept.index)
