"""Messages to browsers' workers, while the broker goes away and comes back."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
import uuid
from typing import Any

from celery import current_app

from browsers.redis import client
from inference.models import PlanStep, RunStep, StepKind
from inference.scheduling import dispatch


def _step(key: int, browser: str) -> RunStep:
    return RunStep(
        pk=key, fence=1, kind=StepKind.COMPUTE, browser=browser, plan_step=PlanStep(depends_on=[])
    )


def test_a_broker_that_is_restarted_is_no_error_of_who_sends(valkey: Any) -> None:
    """Each message to a queue that is new: kombu would declare it, and fail in ways of its own at that."""
    end, errors = threading.Event(), []

    def send() -> None:
        for number in itertools.count():
            if end.is_set():
                return
            try:
                dispatch.send([_step(1, f"new-{number}")])
            except Exception as error:
                errors.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(10):
        time.sleep(0.2)
        valkey.kill()
        valkey.start()
    end.set()
    sender.join()
    client().delete(*client().keys("browser.new-*"))
    assert not errors


def test_a_message_is_what_celery_sends(valkey: Any) -> None:
    """Whatever Celery comes to write, this has to be like it: only ids and who sent it may differ."""
    dispatch.send([_step(7, "same")])
    current_app.send_task(
        dispatch.RUN_SHARD, (7, 1), queue="browser.same", ignore_result=True, declare=[]
    )
    theirs, ours = (json.loads(raw) for raw in client().lrange("browser.same", 0, -1))
    client().delete("browser.same")
    assert ours["headers"]["id"] == ours["headers"]["root_id"]
    assert ours["headers"]["id"] == ours["properties"]["correlation_id"]
    for message in (theirs, ours):
        for name in ("id", "root_id"):
            assert uuid.UUID(message["headers"].pop(name))
        for name in ("correlation_id", "reply_to", "delivery_tag"):
            assert uuid.UUID(message["properties"].pop(name))
        message["body"] = json.loads(base64.b64decode(message["body"]))
    assert ours == theirs


def test_a_chord_s_sender_waits_for_no_result(valkey: Any) -> None:
    """Else it would subscribe to one per step, and ask for each again when the broker is gone."""
    parts = [_step(1, "old"), _step(2, "new")]
    join = RunStep(pk=3, fence=0, kind=StepKind.JOIN, plan_step=PlanStep(depends_on=[0, 1]))
    for index, step in enumerate((*parts, join)):
        step.index = index
    dispatch.send_ready(parts, [*parts, join])
    assert client().llen("browser.old") == client().llen("browser.new") == 1
    assert client().pubsub_channels("celery-task-meta-*") == []
    client().delete("browser.old", "browser.new")
