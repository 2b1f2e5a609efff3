"""What a quarantined browser had does not count, whenever it took it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from browsers.models import Browser, BrowserState, DrainKind
from browsers.queues import queue_of
from browsers.redis import client
from browsers.state import drains
from inference.ledger import operations
from inference.models import RunStep, StepState
from inference.scheduling import dispatch
from tests.support import workers
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(autouse=True)
def two_browsers(clean: None) -> None:
    for name in ("a", "b"):
        Browser.objects.create(id=name, kind=name, family=name, state=BrowserState.READY)
        publish(name)


class ClaimedMeanwhile:
    """The browser's worker claims a step when the pool is looked at: after its state was read."""

    def __init__(self, step: RunStep) -> None:
        self._step = step
        self.claimed: list[RunStep | None] = []

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if "GROUP BY browser" in sql and not self.claimed:
            self.claimed = [None]  # what it executes itself comes here, too
            self.claimed = [workers.claim((self._step.pk, self._step.fence))]
        return execute(sql, *arguments)


def test_a_step_that_is_claimed_while_its_browser_is_quarantined_goes_to_another() -> None:
    step = make_run(shards=1, browsers=["a", "b"]).shards.get()
    assert step.browser == "a"
    worker = ClaimedMeanwhile(step)
    with connection.execute_wrapper(worker):
        assert operations.quarantine("a", by="somebody") == 1
    assert worker.claimed == [None]
    step.refresh_from_db()
    assert (step.browser, step.state) == ("b", StepState.QUEUED)


def test_a_step_that_was_placed_by_an_older_look_at_the_pool_is_not_computed() -> None:
    step = make_run(shards=1, browsers=["a", "b"]).shards.get()
    dispatch.send([step])
    drains.mark("a", DrainKind.QUARANTINED, reason="its answers are odd")
    assert workers.claim(workers.next_message("a")) is None
    assert client().llen(queue_of("a")) == 0
    operations.release("a")
    assert workers.claim((step.pk, step.fence)) is not None


def test_what_a_drained_browser_has_is_still_computed() -> None:
    step = make_run(shards=1, browsers=["a", "b"]).shards.get()
    drains.mark("a", DrainKind.ASKED, reason="a new graphics card")
    assert workers.claim((step.pk, step.fence)) is not None
