"""Caches that a page keeps of sessions that have ended, for one that begins alike: given up first.

They take memory of the browser like models, and are freed, longest kept first, before a model is.
"""

from __future__ import annotations

import contextlib
import threading

from browsers.core.errors import BrowserError
from browsers.session.page import ENGINE_START_S, Page


class Kept:
    """Used by any thread. A `holder` names a cache in the page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, tuple[str, int]]] = {}

    @property
    def mb(self) -> float:
        """What they take."""
        with self._lock:
            return sum(mb for mb, engine in self._held.values() if engine == self._page.engine)

    def holders(self) -> set[str]:
        """Those that are there: a new page or engine has none."""
        with self._lock:
            return {name for name, (_, at) in self._held.items() if at == self._page.engine}

    def add(self, holder: str, mb: float) -> None:
        """Keep a cache that is in the page, the latest of all."""
        with self._lock:
            self._held[holder] = (mb, self._page.engine)

    def drop(self, holder: str) -> None:
        """Free one; no error if it is not there."""
        with self._lock:
            found = self._held.pop(holder, None)
        if found is not None and found[1] == self._page.engine:
            with contextlib.suppress(BrowserError):  # without a page there is no cache
                self._page.step("forget", {"session": holder}, (), ENGINE_START_S)

    def drop_oldest(self) -> bool:
        """Free the one that was kept longest; False: there is none."""
        with self._lock:
            oldest = next(iter(self._held), None)
        if oldest is None:
            return False
        self.drop(oldest)
        return True

    def drop_all(self) -> bool:
        """Free all; False: there were none."""
        dropped = False
        while self.drop_oldest():
            dropped = True
        return dropped
