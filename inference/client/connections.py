"""At most so many browsers: which of them a request may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from browsers.core.naming import alone, means
from browsers.state.live import LiveBrowser
from inference.errors import InvalidRequest


class Connections:
    """The browsers that one pool object uses, at most `limit` (None: all) that live at a time.

    A browser is taken the first time a request may use it; one that died leaves its place to another.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise InvalidRequest(f"max_connections: expected at least 1 browser, got {limit}")
        self._limit = limit
        self._lock = threading.Lock()
        self._used: list[str] = []

    @property
    def bounded(self) -> bool:
        """Whether there is a limit."""
        return self._limit is not None

    @property
    def used(self) -> tuple[str, ...]:
        """Ids, in the order in which they were taken; empty without a limit."""
        return tuple(self._used)

    def allowed(
        self, wishes: Sequence[str], living: Callable[[], Mapping[str, LiveBrowser]]
    ) -> tuple[str, ...]:
        """Names of the browsers that a request may use that wants `wishes` (empty: any).

        With a limit each name means one browser alone.

        Raises:
            InvalidRequest: all connections are taken, and by others than those it wants.
        """
        if self._limit is None:
            return tuple(wishes)
        with self._lock:
            pool = living()
            self._used = [browser for browser in self._used if browser in pool]
            matching = _matching(wishes, pool.values())
            if not matching:
                return tuple(
                    wishes
                )  # who is not there is refused, or waited for, where runs are made
            free = [browser for browser in matching if browser not in self._used]
            room = self._limit - len(self._used)
            self._used += free[: max(0, room)]
            chosen = tuple(browser for browser in matching if browser in self._used)
            if not chosen:
                raise InvalidRequest(
                    f"max_connections={self._limit}: {', '.join(self._used)} are in use, so that "
                    f"{', '.join(wishes)} would be one too many; raise it, or ask for one of them"
                )
            return tuple(alone(browser, pool[browser].kind) for browser in chosen)


def _matching(wishes: Sequence[str], browsers: Collection[LiveBrowser]) -> list[str]:
    """Ids in the order of the wishes; without wishes, in the pool's own order."""
    if not wishes:
        return [browser.id for browser in browsers]
    found = [browser.id for wish in wishes for browser in browsers if means(wish, browser)]
    return list(dict.fromkeys(found))
