"""What racers do to the ledger; a module of its own, which needs Django."""

from __future__ import annotations

import time

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from browsers.redis import client
from inference.errors import Busy
from inference.ledger import claims, operations, results
from inference.ledger.attempts import AttemptFacts
from inference.models import Attempt, RunStep
from inference.runs import creation
from inference.store import outbox, tensors
from tests.support.racers import Racing

_WITHIN_S = 180
_LOOKED = "test:looked"
_WAITING = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
_Computed = tuple[RunStep, dict[str, tensors.TensorRef], AttemptFacts]


def answer(step_id: int, fence: int, port: str) -> Racing:
    """Claim a shard, then write down its result; whether it counted."""
    step, outputs, facts = _computed(step_id, fence, port)
    yield
    return results.record_success(step, outputs, facts)


def _computed(step_id: int, fence: int, port: str) -> _Computed:
    step = claims.claim(step_id, fence, timezone.now())
    assert step is not None
    (ref,) = tensors.store(step.run_id, [tensors.encode_array(port, np.ones(1, np.float32))])
    facts = AttemptFacts(step.browser, timezone.now(), backend="wasm")
    return step, {port: ref}, facts


def answer_all(steps: list[tuple[int, int]]) -> Racing:
    """Write down the results of several runs of one shard, one after the other."""
    computed = [_computed(*step, "t1") for step in steps]
    yield
    return [results.record_success(*each) for each in computed]


def ask(model: str, limit: int) -> Racing:
    """Ask for a run where so many may be active; whether it was let in."""
    settings.WEBPOOL_MAX_ACTIVE_RUNS = limit
    array = tensors.encode_array("x", np.ones((1, 64), np.float32))
    request = creation.RunRequest(model=model, inputs=[array], strategy="none")
    yield
    try:
        creation.create_run(request)
    except Busy:
        return False
    return True


def follow(mark: int, last: int) -> Racing:
    """Take attempts as history does, each time those after the last, until so many have been written."""
    yield
    taken: list[int] = []
    while True:
        ended = Attempt.objects.filter(pk__gt=mark).count() >= last
        while found := list(outbox.after(taken[-1] if taken else mark).order_by("pk")):
            taken += [attempt.pk for attempt in found]
        if ended:
            return taken


def hold_back(step_id: int, fence: int) -> Racing:
    """Write a result down and keep it from others' eyes until another has looked for it."""
    with transaction.atomic():
        assert results.record_success(*_computed(step_id, fence, "t1"))
        yield
        assert client().blpop([_LOOKED], _WITHIN_S)


def answer_and_hand_over(step_id: int, fence: int) -> Racing:
    """Write a result down and make history of what can be taken, while another is held back; how many."""
    outbox._PATIENCE_S = 0.2
    computed = _computed(step_id, fence, "t1")
    yield
    assert results.record_success(*computed)
    taken = outbox.hand_over()
    client().rpush(_LOOKED, 1)
    return taken


def claim_slowly(step_id: int, fence: int) -> Racing:
    """Claim a shard, and commit that only when somebody else waits for its row; whether it was there."""
    with transaction.atomic():
        step = claims.claim(step_id, fence, timezone.now())
        yield
        wait_until_somebody_waits()
    return step is not None


def wait_until_somebody_waits() -> None:
    """Until a transaction waits for what another holds."""
    deadline = time.monotonic() + _WITHIN_S
    with connection.cursor() as cursor:
        while not cursor.execute(_WAITING).fetchone()[0]:
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.01)


def quarantine(browser: str) -> Racing:
    """Take a browser's work from it; how many shards."""
    yield
    return operations.quarantine(browser, by="somebody")


def hand_over() -> Racing:
    yield
    return outbox.hand_over()
