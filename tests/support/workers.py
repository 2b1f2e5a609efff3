"""The part of the browsers' workers and of the control worker, played over the real queues and ledger."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
from django.utils import timezone

from browsers.core.failures import Category
from browsers.queues import queue_of
from browsers.redis import client
from inference.core.turns import Turns
from inference.ledger import claims, joins, results, verification
from inference.ledger.attempts import AttemptFacts
from inference.ledger.turns import claim_next as claim_in_turn
from inference.models import Run, RunStep, StepKind, StepState
from inference.scheduling import dispatch
from inference.store import tensors
from tests.support.ledger import publish


def with_messages(browsers: Sequence[str]) -> list[str]:
    return [browser for browser in browsers if client().llen(queue_of(browser))]


def next_message(browser: str) -> tuple[int, int]:
    """Take the oldest message from a browser's queue: a step's id and a fence."""
    raw = cast("bytes", client().rpop(queue_of(browser)))
    (step, fence), _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return step, fence


def wait_for_message(browser: str, seconds: int) -> tuple[int, int]:
    """As `next_message`, as soon as there is one."""
    queue = queue_of(browser)
    found = client().blpop([queue], seconds)
    assert found is not None, f"nothing was sent to {browser} within {seconds} s"
    client().rpush(queue, cast("tuple[bytes, bytes]", found)[1])
    return next_message(browser)


def facts(shard: RunStep) -> AttemptFacts:
    return AttemptFacts(shard.browser, timezone.now(), backend="webgpu")


def answer(shard: RunStep, value: float, size: int = 1) -> None:
    """As a worker ends a computation: store, then settle; `value` so many times."""
    (port,) = shard.plan_step.outputs
    wires = [tensors.encode_array(port["name"], np.full(size, value, np.float32))]
    refs = tensors.store(shard.run_id, wires)
    odd = verification.oddities(shard, wires)
    verification.settle(shard, wires, refs, odd, facts(shard), results.Glance(shard))


def fail(shard: RunStep, category: Category) -> None:
    results.record_failure(shard, category, "it broke", facts(shard))


def claim(message: tuple[int, int]) -> RunStep | None:
    step, fence = message
    return claims.claim(step, fence, timezone.now())


def claim_next(browser: str, message: tuple[int, int], turns: Turns) -> RunStep | None:
    """What a browser's worker takes on a message."""
    return claim_in_turn(browser, message, turns, timezone.now())


def become_idle(browser: str) -> None:
    """The worker says that it is done with everything that it ever claimed."""
    publish(browser, idle_since=time.time())


def send_first(run: Run) -> None:
    """What `create_run` sends after its commit."""
    steps = claims.steps_of(run)
    dispatch.send_ready([step for step in steps if step.state == StepState.QUEUED], steps)


def joins_to_do() -> list[RunStep]:
    return list(RunStep.objects.filter(state=StepState.QUEUED, kind=StepKind.JOIN))


def follow_chords() -> None:
    """What the bodies of chords do: joins, and shards that wait for several, are done or sent."""
    for join in joins_to_do():
        joins.execute(join.pk, join.fence)
    for step in RunStep.objects.filter(state=StepState.QUEUED).select_related("plan_step"):
        if len(step.plan_step.depends_on) > 1:
            dispatch.send_step(step.pk, step.fence)
