"""Decode loops over browsers in whose pages native onnxruntime computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

from browsers.bridge import Refusal, Reply
from browsers.core.errors import BrowserCrash
from browsers.session.decoding import StepAsked
from browsers.worker import BrowserWorker
from inference.generation.loop import DecodeLoop
from tests.support.ledger import publish
from tests.support.native_page import Page

PROMPT, TOKENS = tuple(range(40)), 60


class Decoding:
    """Steps in a page: `before` is called with the number of each step that is not of a prompt."""

    def __init__(self) -> None:
        self.page, self.released = Page(), list[str]()
        self.kept = SimpleNamespace(holders=set)
        self.before: Callable[[int], object] = lambda step: None
        self.after: Callable[[Reply | Refusal], Reply | Refusal] = lambda reply: reply
        self.computed, self.at = 0, 0

    def steps(self, asked: Sequence[StepAsked], *, timeout_s: float) -> list[Reply | Refusal]:
        for each in asked:
            if each.step["start"]:
                self.at = each.step["start"]
                self.before(each.step["start"] - len(PROMPT))
                self.computed += 1
        return [self.after(self.page.step(each)) for each in asked]

    def release(self, holder: str) -> None:
        self.released.append(holder)


class Browser:
    """A browser of the pool: what a decode loop knows of its worker, and the loop."""

    def __init__(self, name: str) -> None:
        publish(name, memory_limit_mb=4000.0)
        self.id, self.decoding = name, Decoding()
        self.session = SimpleNamespace(decoding=self.decoding)
        self.status = SimpleNamespace(idle_since=1.0, instance="test")
        self.holding = SimpleNamespace(step_failed=lambda sha256, error: None)
        self.loop = DecodeLoop(cast("BrowserWorker", self))


def until(true: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def die(step: int, at: int, reached: threading.Event, go_on: threading.Event) -> None:
    """Stop before a step, and break then."""
    if step >= at:
        reached.set()
        assert go_on.wait(30)
        raise BrowserCrash("it was killed")
