"""The process that gives a stage on is killed in the middle of it: the text goes on, and nobody is blamed.

Store, ledger, decode loops and watchers are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection

from browsers import clock
from browsers.core.errors import BrowserCrash
from browsers.core.failures import Category
from browsers.queues import queue_of
from browsers.redis import client, script
from inference.core.generation.asked import Asked, Ended, Paused, Resumed, TokenWritten
from inference.generation import endings, scripts, serving, streams
from inference.generation.opening import _held, _row
from inference.generation.takeover.finding import Finder
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, GenerationStandby, OnnxModel
from tests.support.ledger import publish
from tests.support.loops import PROMPT, TOKENS, Browser, until
from tests.support.relay import relay
from tests.support.shared import ROOT

pytestmark = pytest.mark.usefixtures("clean")
GIVE, SHUT_OUT = (str(script(text, ())[1]) for text in (scripts.GIVE, scripts.SHUT_OUT))
LOSES = {
    category: type(category.name, (BrowserCrash,), {"category": category}) for category in Category
}


@pytest.fixture(autouse=True)
def patient(settings: Any) -> None:
    """No deadline of a step ends what is to go on by itself."""
    settings.WEBPOOL_SESSION_STEP_S = 3600.0


class Text:
    """A text over browsers a, b and c, whose last stage is lost before its twentieth step."""

    def __init__(self, model: OnnxModel, category: Category, stages: int, standbys: int) -> None:
        self.of = {name: Browser(name) for name in ("a", "b", "c")}
        for name in self.of:
            publish(name, memory_limit_mb=4000.0, idle_since=1.0)
        asked = Asked(PROMPT, TOKENS, ignore_end=True, shards=stages, standbys=standbys)
        self.key, self.stages, self._category = serving.start(model, asked, ""), stages, category
        self.reached, self.lose = threading.Event(), threading.Event()
        self._two, self._follow = threading.Event(), threading.Event()
        self.of[self.rows[-1].browser].decoding.before = self._step
        for name in self.of:
            client().delete(queue_of(name))
        for row in self.rows:
            self._open(row)
        if standbys:
            self._have_it_followed()
        self._follow.set()

    @property
    def rows(self) -> list[GenerationStage]:
        rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
        return list(rows.filter(session__pk=self.key))

    @property
    def free(self) -> str:
        """The browser that has no stage."""
        (name,) = self.of.keys() - {row.browser for row in self.rows}
        return name

    def _step(self, step: int) -> None:
        if step >= 2:
            self._two.set()
            assert self._follow.wait(60)
        if step >= 20 and not self.lose.is_set():
            self.reached.set()
            assert self.lose.wait(60)
            raise LOSES[self._category]("it was lost")

    def _open(self, row: GenerationStage) -> None:
        GenerationStage.objects.filter(pk=row.pk).update(opened_by="test")
        self.of[row.browser].loop.open(_held(row))

    def _have_it_followed(self) -> None:
        assert self._two.wait(60)
        session = GenerationSession.objects.get(pk=self.key)
        until(lambda: endings.write_down(session) or bool(session.written))
        Finder().keep([session], clock.now())
        for standby in GenerationStandby.objects.filter(stage__session=session):
            self.of[standby.browser].loop.open(_held(self.rows[standby.stage.index], standby))
            GenerationStandby.objects.filter(pk=standby.pk).update(opened_by="test")

    def go_on(self) -> list[Any]:
        """Watch over it, and have browsers open what they are told to, until it has ended; what was told."""
        watcher = Watcher()
        until(lambda: self._ended(watcher), within_s=120)
        return list(serving.listen(self.key))

    def _ended(self, watcher: Watcher) -> bool:
        watcher.turn()
        for row in self.rows:
            worker: Any = self.of.get(row.browser)
            told = worker is not None and client().delete(queue_of(row.browser))
            if told and _row(worker, self.key, row.index, row.epoch) is not None:
                self._open(row)
        return GenerationSession.objects.get(pk=self.key).state == "ended"


def kill_a_watcher_that_is_about_to(text: Text, words: str) -> None:
    """A process of its own watches over the text; it is killed before it says that to the store."""
    assert text.reached.wait(60)
    with relay(words) as wire:
        environment = {**os.environ, "WEBPOOL_REDIS_URL": wire.url}
        if connection.vendor == "sqlite":
            environment["WEBPOOL_DATABASE_PATH"] = str(connection.settings_dict["NAME"])
        command = [sys.executable, "-m", "tests.support.scripts.watches"]
        watcher = subprocess.Popen(command, env=environment, cwd=ROOT)
        try:
            text.lose.set()
            assert wire.held.wait(60)
        finally:
            watcher.kill()
            watcher.wait()


def tokens(told: Sequence[Any]) -> list[int]:
    return [each.pick.token for each in told if isinstance(each, TokenWritten)]


def recoveries(text: Text) -> list[tuple[str, str]]:
    rows = GenerationSession.objects.get(pk=text.key).recoveries.all()
    return [(row.how, row.category) for row in rows]


@pytest.mark.parametrize("told", [False, True])
def test_killed_between_ledger_store_and_browser(
    model: OnnxModel, right: list[int], told: bool
) -> None:
    """`told`: the store has been, and the stage's new browser has not."""
    text = Text(model, Category.BROWSER_CRASH, stages=2, standbys=0)
    kill_a_watcher_that_is_about_to(text, queue_of(text.free) if told else GIVE)
    assert [row.epoch for row in text.rows] == [1, 2]
    assert streams.epochs(text.key, 2) == [1, 1 + told]
    heard = text.go_on()
    assert tokens(heard) == right
    assert [each.stage for each in heard if isinstance(each, Paused)] == [1]
    assert [each.browser for each in heard if isinstance(each, Resumed)] == [text.rows[1].browser]
    assert recoveries(text) == [("replay", "browser_crash")], "nobody else is blamed"


def test_killed_before_a_standby_knows(model: OnnxModel, right: list[int]) -> None:
    text = Text(model, Category.BROWSER_CRASH, stages=1, standbys=1)
    kill_a_watcher_that_is_about_to(text, GIVE)
    assert streams.epochs(text.key, 1) == [1] != [row.epoch for row in text.rows]
    assert tokens(text.go_on()) == right
    assert recoveries(text) == [("standby", "browser_crash")]


@pytest.mark.parametrize("words", [SHUT_OUT, "UNLINK", "MULTI", "browser."])
def test_killed_while_a_text_is_begun_anew(model: OnnxModel, right: list[int], words: str) -> None:
    text = Text(model, Category.TENSOR_LOST, stages=2, standbys=0)
    kill_a_watcher_that_is_about_to(text, words)
    assert [row.epoch for row in text.rows] == [2, 2]
    heard = text.go_on()
    assert tokens(heard) == right
    assert isinstance(heard[-1], Ended)
    # What was not begun is begun again; what was lacks nothing but the messages.
    beginnings = 1 if words == "browser." else 2
    assert recoveries(text) == [("recompute", "tensor_lost")] * beginnings * 2
