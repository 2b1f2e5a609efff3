"""What one owner may have of the pool, so that the others get theirs.

Only keys and people are told apart (`core/tenants.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from browsers.redis import client
from inference.catalog import plans
from inference.core.tenants import is_counted
from inference.errors import Busy
from inference.models import Redundancy, Run
from inference.store.statements import read_sql, rows

_ACTIVE = read_sql("owner_runs")
_COME_BACK_S = 5.0
# Below this share of the store's memory nobody's outputs are in anybody's way.
_SHORT_ABOVE = 0.5
# A store that was not short is taken to have enough for so long: to ask it takes longer than to store.
_ENOUGH_FOR_S = 1.0
_enough_until = float("-inf")


def check_shards(shards: int | None, copies: int, redundancy: str) -> None:
    """Refuse a run of more steps than one run may have, before anything is cut for it.

    Raises:
        InvalidRequest.
    """
    plans.check_size((shards or 1) * copies * (2 if redundancy == Redundancy.FIRST else 1))


def admit(owner: str, count: int = 1) -> None:
    """Let one more run of the owner in; in the transaction that counts all runs.

    Args:
        count: as how many it counts; who has nothing else under way may have one that counts as more.

    Raises:
        Busy: as many of theirs are active as settings.WEBPOOL_MAX_RUNS_PER_OWNER allows.
    """
    if not is_counted(owner):
        return
    ((active,),) = rows(_ACTIVE, [owner, owner])
    most = settings.WEBPOOL_MAX_RUNS_PER_OWNER
    if active >= most or (active and active + count > most):
        raise Busy(
            f"{active} runs of {owner} are active, each standby of a text as one more, this one counts as "
            f"{count}; the limit for one owner is {most} (WEBPOOL_MAX_RUNS_PER_OWNER); send it again later",
            retry_after_s=_COME_BACK_S,
        )


def check_stored(owner: str) -> None:
    """Refuse who fills the tensor store with answers that they do not fetch, once it is short.

    Raises:
        Busy: they hold more than settings.WEBPOOL_MAX_STORED_SHARE of it.
        RedisError: it does not answer.
    """
    if not is_counted(owner):
        return
    whole = _store_when_short()
    if not whole:
        return
    held = _held_bytes(owner)
    if held > settings.WEBPOOL_MAX_STORED_SHARE * whole:
        raise Busy(
            f"the tensor store is short, and {held / 2**20:.0f} MB of it are outputs of {owner} that nobody "
            f"fetched; one owner may hold {settings.WEBPOOL_MAX_STORED_SHARE:.0%} of it then "
            f"(WEBPOOL_MAX_STORED_SHARE); they expire {settings.WEBPOOL_TENSOR_TTL_S} s after they were made",
            retry_after_s=_COME_BACK_S,
        )


def _store_when_short() -> int:
    """The store's memory in bytes while it is short; else 0, which is asked once a second at most."""
    global _enough_until
    if time.monotonic() < _enough_until:
        return 0
    memory: Any = client().info("memory")
    whole = int(memory.get("maxmemory", 0))
    if whole and int(memory["used_memory"]) >= _SHORT_ABOVE * whole:
        return whole
    _enough_until = time.monotonic() + _ENOUGH_FOR_S
    return 0


def _held_bytes(owner: str) -> int:
    """The outputs of theirs that the store still has."""
    since = timezone.now() - timedelta(seconds=settings.WEBPOOL_TENSOR_TTL_S)
    made = Run.objects.filter(owner=owner, finished_at__gte=since).values_list("outputs", flat=True)
    return sum(_lengths(item["key"] for outputs in made for item in outputs.values()))


def _lengths(keys: Iterable[str]) -> list[int]:
    pipe = client().pipeline(transaction=False)
    for key in keys:
        pipe.strlen(key)
    lengths: list[int] = pipe.execute()
    return lengths
