"""Whose turn it is: of the tenants that wait, the one that was served longest ago."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_REMEMBERED = 4096


class Turns:
    """Who was served in which order, by one browser since its worker started.

    Whoever was never served comes first, so that one more run of somebody new waits for nothing but what is
    computed now, however much the others have waiting.
    """

    def __init__(self) -> None:
        self._served: dict[str, None] = {}  # in the order in which each was served last

    def next_of(self, waiting: Iterable[str]) -> str:
        """The tenant whose turn it is; of several that were never served the first one.

        Raises:
            ValueError: nobody waits.
        """
        order = {tenant: place for place, tenant in enumerate(self._served)}
        return min(waiting, key=lambda tenant: order.get(tenant, -1))

    def note(self, tenant: str) -> None:
        """The tenant is served now."""
        self._served.pop(tenant, None)
        self._served[tenant] = None
        if len(self._served) > _MOST_REMEMBERED:
            del self._served[next(iter(self._served))]
