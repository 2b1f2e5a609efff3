"""Callers in threads of this process, who ask for as long as they are let, and what befell them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from django.db import connection

AGAIN_S: Final = 0.1


class Callers:
    """Attributes:
    refused: what was not taken, by the kind of refusal; each was asked again.
    unexpected: what no caller should ever see.
    """

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def _add(self, ask: Callable[[random.Random], object], seed: str) -> None:
        """One more, who asks again and again; what is drawn is drawn by the seed."""
        draw = random.Random(seed)
        self._threads.append(threading.Thread(target=self._call, args=(ask, draw)))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask nothing more and wait for what was asked; whether all of it ended in time."""
        self._stop.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _call(self, ask: Callable[[random.Random], object], draw: random.Random) -> None:
        try:
            while not self._stop.is_set():
                ask(draw)
        finally:
            connection.close()

    def _refused(self, kind: str) -> None:
        with self._lock:
            self.refused[kind] += 1
        time.sleep(AGAIN_S)

    def _unexpected(self, doing: str, error: Exception) -> None:
        with self._lock:
            self.unexpected.append(f"{doing}: {type(error).__name__}: {error}")
        time.sleep(AGAIN_S)
