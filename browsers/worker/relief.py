"""A browser gives memory back between two tasks: models first, then its page, then itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from browsers import restart_lock
from browsers.core.failures import Category
from browsers.core.pressure import Relief
from browsers.models import Incident
from browsers.session import BrowserSession
from browsers.worker.ladder import RUNG_S, Bounded
from browsers.worker.memory import Memory

log = logging.getLogger(__name__)
_SETTLES_WITHIN_S = 3.0  # the kernel takes pages back a moment after a process has given them up
_TURN_WITHIN_S = 60.0


class Reliever:
    """Acts in the main thread. `away` is called before the page goes, `back` with what it is after that."""

    def __init__(
        self,
        browser_id: str,
        session: BrowserSession,
        memory: Memory,
        bounded: Bounded,
        *,
        away: Callable[[str], None],
        back: Callable[[], None],
    ) -> None:
        self._id, self._session, self._memory = browser_id, session, memory
        self._bounded, self._away, self._back = bounded, away, back
        self._acts: dict[Relief, Callable[[str], object]] = {
            Relief.UNLOAD: self._unload,
            Relief.REFRESH: lambda why: self._anew(why, session.refresh),
            Relief.RESTART: self._restart,
        }

    def relieve(self) -> None:
        """Until nothing is above its limit, or nothing is left to give; each act is an incident.

        Raises:
            BrowserError: the browser broke on the way.
        """
        self._memory.measure()
        why, enough = self._memory.shortage, not self._memory.shortage
        for relief in Relief:
            if enough:
                break
            enough = self._try(relief, why)
        self._memory.relieved(enough=enough)

    def _try(self, relief: Relief, why: str) -> bool:
        before_mb, began = self._memory.tree_mb, time.monotonic()
        with self._bounded(RUNG_S + _TURN_WITHIN_S):
            if self._acts[relief](why) is False:
                return False
            enough = self._settled()
        after_mb = self._memory.tree_mb
        reclaimed_mb = (
            before_mb - after_mb if before_mb is not None and after_mb is not None else None
        )
        Incident.objects.create(
            browser_id=self._id,
            category=Category.MEMORY_PRESSURE,
            message=why,
            rung=relief.value,
            repaired=enough,
            duration_ms=(time.monotonic() - began) * 1000,
            reclaimed_mb=reclaimed_mb,
        )
        log.warning("%s: %s; %s: %s → %s MB", self._id, why, relief.value, before_mb, after_mb)
        return enough

    def _settled(self) -> bool:
        until = time.monotonic() + _SETTLES_WITHIN_S
        while True:
            self._memory.measure()
            if not self._memory.shortage or time.monotonic() >= until:
                return not self._memory.shortage
            time.sleep(0.2)

    def _unload(self, _why: str) -> bool:
        """Every kept cache and every model; False: there was none."""
        kept = self._session.decoding.kept.drop_all()
        loaded = {model.sha256 for model in self._session.loaded()}
        for sha256 in loaded:
            self._session.unload(sha256)
        return bool(loaded) or kept

    def _anew(self, why: str, act: Callable[[], object]) -> None:
        self._away(why)
        act()
        self._session.probe()
        self._back()

    def _restart(self, why: str) -> bool:
        """False: on this machine others are being restarted; the next look asks again."""
        with restart_lock.turn(self._id, wait_s=_TURN_WITHIN_S) as ours:
            if ours:
                self._anew(why, self._session.restart)
            return ours
