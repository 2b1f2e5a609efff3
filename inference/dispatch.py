"""Choose a browser for each ready shard, write the choice down, then send the messages.

`assign` runs inside the caller's transaction; `send` comes after its commit. A process that dies between
the two leaves a queued shard without a message, which the sweep finds (inference/sweep.py). A broker that
does not take the message leaves the same: what was committed stands, so `send` does not raise for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import redis.exceptions
from celery import chord, current_app, signature
from django.utils import timezone
from kombu.exceptions import KombuError

from inference.core.placement import (
    BrowserView,
    NoBrowser,
    Pin,
    ShardView,
    Wishes,
    candidates,
)
from inference.core.retry import INCAPABLE
from inference.models import Run, RunShard, ShardState
from inference.pool_view import absent

log = logging.getLogger(__name__)
CONTROL_QUEUE = "control"
# Tasks are sent by name: whoever sends needs nothing of what computes them.
RUN_SHARD = "inference.tasks.run_shard"
MERGE_RUN = "inference.tasks.merge_run"


def queue_of(browser_id: str) -> str:
    return f"browser.{browser_id}"


def wishes_from(
    browsers: Sequence[str], platform: str, pins: Mapping[int, str] | Mapping[str, str]
) -> Wishes:
    """The caller's words as placement wants them; a pin is "browser", "browser/platform", "/platform"."""
    parsed = {}
    for index, wish in pins.items():
        browser, _, pinned_platform = wish.partition("/")
        parsed[int(index)] = Pin(browser, pinned_platform)
    return Wishes(tuple(browsers), platform, parsed)


def wishes_of(run: Run) -> Wishes:
    return wishes_from(run.browsers, run.platform, run.pins)


def assign(
    run: Run,
    ready: Sequence[RunShard],
    siblings: Iterable[RunShard],
    pool: Sequence[BrowserView],
    now: datetime | None = None,
) -> tuple[list[RunShard], list[NoBrowser]]:
    """Choose browsers and set the fields of `ready` (unsaved); returns what to send and who found none.

    A shard that finds no browser now but may later becomes READY and is tried again by the sweep.
    """
    now = now or timezone.now()
    used: dict[str, int] = {}
    for sibling in siblings:
        if sibling.browser:
            used[sibling.browser] = used.get(sibling.browser, 0) + 1
    wishes, sent, stuck = wishes_of(run), [], []
    for shard in ready:
        shard.ready_at = shard.ready_at or now
        refused = {b: why for b, why in shard.avoid.items() if why in INCAPABLE}
        soft = {b: why for b, why in shard.avoid.items() if why not in INCAPABLE}
        view = ShardView(shard.index, shard.plan_shard.sha256, shard.plan_shard.weight_bytes)
        try:
            best = candidates(view, pool, wishes, avoid=soft, refused=refused, used=used)[0]
        except NoBrowser:
            shard.state, shard.browser = ShardState.READY, ""
            stuck.append(_why_none(view, pool, wishes, refused))
            continue
        used[best.browser] = used.get(best.browser, 0) + 1
        shard.state, shard.browser, shard.queued_at = ShardState.QUEUED, best.browser, now
        shard.fence += 1
        sent.append(shard)
    return sent, stuck


def _why_none(
    view: ShardView, pool: Sequence[BrowserView], wishes: Wishes, refused: Mapping[str, str]
) -> NoBrowser:
    """Why no browser can take the shard; one whose worker is down for now may still come back."""
    everyone = [*pool, *absent(pool)]
    try:
        candidates(view, everyone, wishes, avoid={}, refused=refused, used={})
    except NoBrowser as none:
        return none
    raise AssertionError(f"{view} found a browser only when asked again")


def send(shards: Sequence[RunShard]) -> None:
    """Send one message per shard: compute it there, unless its fence has moved on."""

    def publish() -> None:
        for shard in shards:
            current_app.send_task(
                RUN_SHARD,
                (shard.pk, shard.fence),
                queue=queue_of(shard.browser),
                ignore_result=True,
            )

    if shards:
        _unless_broker_is_down(publish, "the sweep sends them again")


def _unless_broker_is_down(publish: Callable[[], object], remedy: str) -> None:
    try:
        publish()
    except (KombuError, redis.exceptions.RedisError, OSError) as error:
        log.warning("messages were not sent (%s); %s", error, remedy)


def send_group(run_id: str, shards: Sequence[RunShard]) -> None:
    """Send shards that are ready together under a chord whose body merges them (SPEC S4)."""
    header = [
        signature(RUN_SHARD, (shard.pk, shard.fence), queue=queue_of(shard.browser), immutable=True)
        for shard in shards
    ]
    body = signature(MERGE_RUN, (run_id,), queue=CONTROL_QUEUE, immutable=True)
    _unless_broker_is_down(lambda: chord(header)(body), "the sweep sends and merges them")


def send_merge(run_id: str) -> None:
    _unless_broker_is_down(
        lambda: current_app.send_task(
            MERGE_RUN, (run_id,), queue=CONTROL_QUEUE, ignore_result=True
        ),
        "the sweep merges the run",
    )
