"""What a browser, its page and its machine take of memory, looked at every few seconds by a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

import psutil
from django.conf import settings

from browsers.core.leaks import Leak, LeakMeter
from browsers.core.pressure import Look, Reading, again_after_s
from browsers.session import BrowserSession, MemoryFacts

log = logging.getLogger(__name__)
_EVERY_S = 5.0


class Memory:
    """The last look, and what follows from it; any thread may read it.

    Attributes:
        facts: of browser and page; None until the first look.
    """

    def __init__(self, session: BrowserSession, limit_mb: float) -> None:
        self.facts: MemoryFacts | None = None
        self._session, self._limit_mb = session, limit_mb
        self._leaks: LeakMeter[str] = LeakMeter()
        self._last: Look | None = None
        self._in_vain, self._not_before = 0, 0.0
        self._reading = self.reading(None)
        self._lock, self._stop = threading.Lock(), threading.Event()

    @property
    def tree_mb(self) -> float | None:
        """PSS of the browser's process tree at the last look, in MB."""
        return self.facts.tree_pss_mb if self.facts else None

    @property
    def shortage(self) -> str:
        """What was above its limit; empty: nothing."""
        return self._reading.shortage

    @property
    def machine_short(self) -> bool:
        return self._reading.machine_short

    def reading(self, tree_mb: float | None) -> Reading:
        """`tree_mb` beside what the machine takes now."""
        return Reading(
            tree_mb=tree_mb,
            fresh_mb=self._session.fresh_mb,
            limit_mb=self._limit_mb,
            machine_used=psutil.virtual_memory().percent / 100,
            machine_limit=settings.WEBPOOL_MACHINE_MEMORY,
        )

    def leak(self, sha256: str) -> Leak | None:
        """How the browser grows with each run of a model; None: it did not run alone for long enough."""
        return self._leaks.leak(sha256)

    def relief_is_due(self, now: float) -> bool:
        """Whether giving memory back is called for and may be of use."""
        reading = self._reading
        return bool(reading.shortage) and reading.reclaimable and now >= self._not_before

    def relieved(self, *, enough: bool) -> None:
        """It was tried: in vain, it is tried again later and later."""
        self._in_vain = 0 if enough else self._in_vain + 1
        self._not_before = time.monotonic() + again_after_s(self._in_vain)

    def measure(self) -> None:
        """Measure; by its own thread, and by the main thread while it gives memory back."""
        with self._lock:
            self._measure(self._look())

    def look(self) -> None:
        """Measure where anything moved since the last time; the machine is read in any case."""
        with self._lock:
            look = self._look()
            reading = self.reading(self.tree_mb)
            if reading.shortage or self._last is None or not self._last.stands(look):
                self._measure(look)
            else:
                self._reading = reading

    def _look(self) -> Look:
        runs: Counter[str] = Counter()
        for model in self._session.loaded():
            runs[model.sha256] += model.runs
        return Look(time.monotonic(), self._session.tree_rss_mb(), runs)

    def _measure(self, look: Look) -> None:
        self.facts = self._session.memory()
        self._reading = self.reading(self.facts.tree_pss_mb)
        self._last = look
        if self.facts.tree_pss_mb is not None:
            self._leaks.observe(self.facts.tree_pss_mb, look.runs)

    def start(self) -> None:
        threading.Thread(target=self._measure_on, name="memory", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _measure_on(self) -> None:
        while not self._stop.wait(_EVERY_S):
            try:
                self.look()
            except Exception:
                log.exception("memory could not be looked at")
