"""Tells a listener what happened, in order, in a thread of its own."""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Notices:
    """A listener that is slow or fails holds up nobody."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="supervisor-notices", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, method: Callable[..., None], *args: object, **options: object) -> None:
        self._queue.put(functools.partial(method, *args, **options))

    def end(self) -> None:
        """Nothing more follows."""
        self._queue.put(None)

    def join(self, timeout_s: float | None) -> None:
        """Wait until everything was told."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (notice := self._queue.get()) is not None:
            try:
                notice()
            except Exception:
                log.exception("a listener of the supervisor failed")
