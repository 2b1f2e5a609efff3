"""Where the processor time of a request goes inside a process, measured between points by the process itself.

A signal wraps the functions that are the points, the next one unwraps them and writes what was found. Time of
a point that another one surrounds counts for the inner one alone; a process that waits takes none.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from inference.graph.atomic import atomic_write
from webpool_site.lab.bench.switches.replacing import Replacement, Switch

WEB: Final = {
    "inference.views.open_inference:decode_request": "body read as tensors",
    "inference.catalog.registry:current_model": "the model looked up",
    "inference.runs.creation:pool_for": "the pool as it is now",
    "inference.runs.creation:prepare": "inputs checked",
    "inference.scheduling.dispatch:assign": "a browser chosen",
    "inference.runs.creation:_store_inputs": "inputs stored",
    "inference.runs.creation:_insert": "admitted, run and steps written",
    "inference.scheduling.dispatch:send_ready": "message sent",
    "inference.runs.creation:_create_run": "the rest of creating the run",
    "inference.runs.serving:wait_run": "the news heard",
    "inference.views.open_inference:_reply": "outputs, and where it ran",
    "inference.wire.oip.apart:Reply.encoded": "JSON written",
}
WORKER: Final = {
    "inference.ledger.turns:claim_next": "whose turn it is, claimed",
    "inference.store.tensors:fetch": "inputs fetched",
    "inference.worker.execution:_compute": "to the page and back",
    "inference.worker.execution:_kept": "outputs looked at and stored",
    "inference.ledger.verification:settle": "result, attempt and end written, the caller told",
    "inference.worker.execution:_execute": "the rest of the step",
}
_NS_PER_MS: Final = 1e6


class Points:
    """Of one process."""

    def __init__(self) -> None:
        self._ns: Counter[str] = Counter()
        self._inner = threading.local()
        self._switch: Switch | None = None

    def turn(self, *_: object) -> None:
        """A signal's handler: begin, or end and write."""
        if self._switch is None:
            self._ns.clear()
            self._switch = Switch(self._wrapped())
            self._switch.turn()
            return
        self._switch.turn()
        self._switch = None
        with atomic_write(file_of(os.getpid())) as file:
            file.write(
                json.dumps({name: ns / _NS_PER_MS for name, ns in self._ns.items()}).encode()
            )

    def _wrapped(self) -> list[Replacement]:
        found: list[Replacement] = []
        for name in (*WEB, *WORKER):
            module, _, path = name.partition(":")
            if module in sys.modules:  # what this process never imported it does not do
                *owners, last = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                found.append((owner, last, self._timed(name, vars(owner)[last])))
        return found

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outside = getattr(self._inner, "ns", 0)
            self._inner.ns = 0
            began = time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time_ns() - began
                self._ns[name] += took - self._inner.ns
                self._inner.ns = outside + took

        return timed


def file_of(pid: int) -> Path:
    """What the process writes: ms by point, as JSON."""
    return Path(settings.WEBPOOL_HOME) / "run" / f"points.{pid}.json"


def read(pid: int) -> Mapping[str, float]:
    found: Mapping[str, float] = json.loads(file_of(pid).read_bytes())
    return found
