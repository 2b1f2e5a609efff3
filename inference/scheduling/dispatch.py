"""Choose a browser for each ready shard, write the choice down, then send the messages.

`assign` runs inside the caller's transaction; `send` comes after its commit. A process that dies between
the two leaves a queued shard without a message, which the sweep finds (inference/ledger/sweep.py). A broker
that does not take the message leaves the same: what was committed stands, so `send` does not raise for it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import redis.exceptions
from celery import current_app, signature
from celery.utils import uuid
from kombu.exceptions import KombuError

from browsers.core.failures import Category, Retry
from browsers.queues import CONTROL_QUEUE, queue_of
from browsers.redis import client
from inference.core.exploration import Taken
from inference.core.lifecycle import UNDER_WAY
from inference.core.placement import (
    BrowserView,
    Candidate,
    NoBrowser,
    ShardView,
    Wishes,
    candidates,
    kept_away,
)
from inference.documents import JsonObject
from inference.graph.steps import Role
from inference.models import (
    PlanStep,
    Redundancy,
    Run,
    RunStep,
    StepKind,
    StepState,
    Strategy,
)
from inference.scheduling import advice
from inference.scheduling.pool_view import absent
from inference.scheduling.wishes import asked_of
from inference.store import messages, step_moves
from inference.store.doubts import answers_of
from inference.store.messages import Message

log = logging.getLogger(__name__)
# Tasks are sent by name: whoever sends needs nothing of what computes them.
RUN_SHARD = "inference.tasks.run_shard"
RUN_JOIN = "inference.tasks.run_join"
SEND_STEP = "inference.tasks.send_step"
# Nobody waits for a task's result, so its sender subscribes to none: the ledger holds what came of it.
# And it declares no queue: each is declared by who reads it, and kombu, when the connection breaks in the
# middle of a declaration, publishes on the channel that it just closed (an AttributeError).
_QUIETLY: JsonObject = {"ignore_result": True, "declare": []}
_ANSWERED = "it has answered, another is asked to confirm"
_HAS_COPY = "it has the shard's other copy"
# Attention and feed-forward parts alternate between two groups of browsers.
_SIDES = {Role.ATTENTION.value: 0, Role.FEED_FORWARD.value: 1}


def forget_messages(browser_id: str) -> None:
    """Take shards' messages out of the queue of a worker that is gone: the ledger knows what it held.

    Other messages (load this file, repair yourself) wait for its successor. While the broker is down all
    stay; whoever reads them is refused by the fence.
    """
    queue = queue_of(browser_id)
    try:
        for raw in cast("list[bytes]", client().lrange(queue, 0, -1)):
            if json.loads(raw).get("headers", {}).get("task") == RUN_SHARD:
                client().lrem(queue, 1, cast("str", raw))
    except redis.exceptions.RedisError as error:
        log.warning("the queue of %s was not emptied: %s", browser_id, error)


def wishes_of(run: Run, step: PlanStep) -> Wishes:
    """What the run's caller asked for, and what history knows of the step where nothing was asked for."""
    return advice.advise(asked_of(run), run.model, advice.taken_of(run), step.work_type)


def select(run: Run, step: PlanStep, pool: Sequence[BrowserView]) -> Taken | None:
    """What history or exploration decides for a whole run; see `advice.select`."""
    if not advice.decides(asked_of(run), run.model):
        return None
    view, wishes = shard_view(step), wishes_of(run, step)
    try:
        best = candidates(view, pool, wishes, avoid={}, refused={}, used={})[0]
    except NoBrowser:
        return None
    usual = next(browser for browser in pool if browser.id == best.browser)
    return advice.select(run.model, view, pool, wishes, usual)


def assign(
    run: Run,
    ready: Sequence[RunStep],
    steps: Iterable[RunStep],
    pool: Sequence[BrowserView],
    now: datetime,
) -> tuple[list[RunStep], list[NoBrowser]]:
    """Choose where each of `ready` goes and set its fields (unsaved).

    Returns what is queued, and which shards found no browser. Those that may find one later become
    READY and are tried again by the sweep. `steps` are the run's others. Copies of a shard never share a
    browser.
    """
    choice = _Choice(run, steps, pool)
    queued, stuck = [], []
    for step in ready:
        found = choice.browser_for(step, ready) if step.kind == StepKind.COMPUTE else ""
        if isinstance(found, NoBrowser):
            step_moves.hold(step, now)
            stuck.append(found)
        else:
            step_moves.queue(step, found, now)
            queued.append(step)
    return queued, stuck


def why_none(
    step: RunStep, steps: Iterable[RunStep], pool: Sequence[BrowserView]
) -> NoBrowser | None:
    """Why no browser of the pool would take a shard now, whatever its state; None: one would."""
    found = _Choice(step.run, steps, pool).browser_for(step)
    return found if isinstance(found, NoBrowser) else None


def takers(
    step: RunStep, steps: Iterable[RunStep], pool: Sequence[BrowserView]
) -> list[tuple[Candidate, bool]]:
    """Who of the pool can take a shard now, best first; of each, whether something speaks against it.

    The shard failed there, a breaker keeps it away, or its kind is known to fail at such work.
    """
    question = _Choice(step.run, steps, pool).question(step)
    failing = question.wishes.hints.failing
    blamed = {
        browser.id
        for browser in pool
        if browser.id in question.avoid
        or browser.kind in failing
        or kept_away(question.shard, browser)
    }
    try:
        ranked = question.ranked(pool, {})
    except NoBrowser:
        return []
    return [(candidate, candidate.browser in blamed) for candidate in ranked]


@dataclasses.dataclass(frozen=True)
class _Question:
    """Who takes a shard; `second`: another browser has, or had, it, too."""

    shard: ShardView
    wishes: Wishes
    avoid: Mapping[str, str]
    refused: Mapping[str, str]
    second: bool

    def ranked(self, pool: Sequence[BrowserView], used: Mapping[str, int]) -> list[Candidate]:
        """Best first.

        Raises:
            NoBrowser: none of the pool can.
        """
        return candidates(
            self.shard, pool, self.wishes, avoid=self.avoid, refused=self.refused, used=used
        )


class _Choice:
    """The choice of browsers for several shards of a run, one after the other.

    `steps` are the run's others, with the browsers that they have.
    """

    def __init__(self, run: Run, steps: Iterable[RunStep], pool: Sequence[BrowserView]) -> None:
        self._run, self._steps, self._pool = run, list(steps), pool
        self._used = Counter(step.browser for step in self._steps if step.browser)
        self._homes = {s.plan_step.part: s.browser for s in reversed(self._steps) if s.browser}

    def browser_for(self, shard: RunStep, beside: Sequence[RunStep] = ()) -> str | NoBrowser:
        """The best browser's id, or why there is none; `beside`: shards chosen for together with it."""
        question = self.question(shard, beside)
        try:
            best = question.ranked(self._pool, self._used)[0].browser
        except NoBrowser:
            return _why_none(question, self._pool)
        self._used[best] += 1
        return best

    def question(self, shard: RunStep, beside: Sequence[RunStep] = ()) -> _Question:
        view = shard_view(shard.plan_step, self._homes)
        wishes = wishes_of(self._run, shard.plan_step)
        copied = self._run.redundancy == Redundancy.FIRST
        taken = _of_copies(shard, [*self._steps, *beside]) if copied else {}
        # A backend that was only tried says nothing of what its browser can do.
        tried = shard.attempts <= 1 and bool(self._run.selection)
        refused = {b: why for b, why in shard.avoid.items() if _never_there(why) and not tried}
        soft = {b: why for b, why in shard.avoid.items() if b not in refused}
        asked = {**taken, **{answer.browser: _ANSWERED for answer in answers_of(shard)}}
        return _Question(view, wishes, soft, refused | asked, bool(asked))


def shard_view(step: PlanStep, homes: Mapping[int | None, str] | None = None) -> ShardView:
    """What placement needs to know of a step that computes; `homes`: the browser of each part."""
    home = (homes or {}).get(step.part, "") if step.part is not None else ""
    alternates = step.plan.strategy == Strategy.ATTENTION_FEEDFORWARD
    side = _SIDES.get(step.group) if alternates else None
    return ShardView(step.index, step.sha256, step.weight_bytes, side, home)


def _of_copies(step: RunStep, steps: Iterable[RunStep]) -> dict[str, str]:
    """Browsers that have another copy of the step."""
    same = (other for other in steps if other.index == step.index and other.copy != step.copy)
    return {other.browser: _HAS_COPY for other in same if other.state in UNDER_WAY}


def _never_there(why: str) -> bool:
    return Category.of(why).retry is Retry.NEVER_HERE


def _why_none(question: _Question, pool: Sequence[BrowserView]) -> NoBrowser:
    """Why no browser can take the shard; one whose worker is down for now may still come back.

    A `second` browser is waited for longer: the shard is, or was, computed in another meanwhile.
    """
    everyone = [*pool, *absent(pool, hoped_for=question.second)]
    try:
        dataclasses.replace(question, avoid={}).ranked(everyone, {})
    except NoBrowser as none:
        return none
    raise AssertionError(f"{question.shard} found a browser only when asked again")


def _in_chord(later: RunStep, steps: Sequence[RunStep]) -> bool:
    """Whether all that a step waits for went out together, and is still what went out then."""
    waits_for = set(later.plan_step.depends_on)
    parts = [step for step in steps if step.index in waits_for]
    together = {part.queued_at for part in parts}
    # A task is a member of one chord only: that of the first step that waits for it and others.
    shared = any(
        _waits_for_several(step) and waits_for.intersection(step.plan_step.depends_on)
        for step in steps
        if step.index < later.index
    )
    return (
        _waits_for_several(later)
        and len(together) == 1
        and all(part.kind == StepKind.COMPUTE and part.fence == 1 for part in parts)
        and not shared
    )


def _waits_for_several(step: RunStep) -> bool:
    return len(step.plan_step.depends_on) > 1


def send(steps: Sequence[RunStep]) -> None:
    """Send one message per step: do it there, unless its fence has moved on."""

    if steps:
        sent = [Message(*_address(step), (step.pk, step.fence)) for step in steps]
        _unless_broker_is_down(lambda: messages.push(sent), "the sweep sends them again")


def _send_member(step: RunStep, **of_chord: Any) -> None:
    name, queue = _address(step)
    current_app.send_task(name, (step.pk, step.fence), queue=queue, **_QUIETLY, **of_chord)


def _address(step: RunStep) -> tuple[str, str]:
    if step.kind == StepKind.JOIN:
        return RUN_JOIN, CONTROL_QUEUE
    return RUN_SHARD, queue_of(step.browser)


def send_ready(queued: Sequence[RunStep], steps: Sequence[RunStep]) -> None:
    """Send steps that became ready together; `steps` are all of the run's.

    Shards that one step waits for go out under a chord whose body brings that step: a join is
    the body itself; for a shard it is `send_step`, because the shard's browser is chosen when the last
    of what it waits for is recorded, not now. Such a step comes by itself. Copies are sent one by one: a
    chord waits for all, and what follows them for the first.
    """
    if any(step.copy for step in steps):
        send(queued)
        return
    left = {step.index: step for step in queued}
    for later in steps:
        if _in_chord(later, steps):
            left.pop(later.index, None)
            waits_for = later.plan_step.depends_on
            if left.keys() >= set(waits_for):
                _send_chord([left.pop(index) for index in waits_for], later)
    send(list(left.values()))


def _send_chord(parts: Sequence[RunStep], later: RunStep) -> None:
    """As `celery.chord(header)(body)` sends it, which also subscribes its sender to every part's result:
    two round trips a part, and 20 s of waiting for each when the broker is gone.
    """
    name = RUN_JOIN if later.kind == StepKind.JOIN else SEND_STEP
    options = {"queue": CONTROL_QUEUE, **_QUIETLY}
    body = signature(name, (later.pk, later.fence + 1), immutable=True, options=options)
    body.freeze()
    group = uuid()

    def publish() -> None:
        current_app.backend.set_chord_size(group, len(parts))
        for index, part in enumerate(parts):
            _send_member(part, group_id=group, group_index=index, chord=body)

    _unless_broker_is_down(publish, "the sweep sends them and what follows")


def send_step(step_id: int, fence: int) -> bool:
    """Send a shard to the browser that the ledger has chosen for it; False when it has moved on.

    The body of a chord. It decides nothing: it may come twice, or not at all, and then the sweep sends.
    """
    step = RunStep.objects.filter(pk=step_id, fence=fence, state=StepState.QUEUED).first()
    if step is None:
        return False
    send([step])
    return True


def _unless_broker_is_down(publish: Callable[[], object], remedy: str) -> None:
    try:
        publish()
    except (KombuError, redis.exceptions.RedisError, OSError) as error:
        log.warning("messages were not sent (%s); %s", error, remedy)
