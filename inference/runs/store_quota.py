"""What one tenant may hold of a tensor store that is short: inputs of runs under way, outputs not fetched.

What browsers hand one another within a run is not counted: it is freed with the run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings

from browsers import clock
from browsers.redis import client
from inference.core.tenants import is_counted
from inference.documents import JsonView
from inference.errors import Busy
from inference.models import Run
from inference.runs.quotas import COME_BACK_S
from inference.store.inputs import refs_in
from inference.store.sql.running import rows
from inference.store.sql.statements import read_sql

LARGE = 2**20
"""From so many bytes on, to ask the store how it stands takes no time beside storing them."""
_INPUTS = read_sql("tenant_inputs")
# Below this share of the store's memory nobody's tensors are in anybody's way.
_SHORT_ABOVE = 0.5
# A store that was not short is taken to have enough for so long by who stores little.
_ENOUGH_FOR_S = 1.0
_enough_until = float("-inf")


def check(tenant: str, size: int) -> None:
    """Refuse who would fill the tensor store with inputs, or does not fetch answers, once it is short.

    Args:
        size: bytes of the inputs that are to be stored, or were just now, for a run that has no row yet; who
            holds nothing else may have them whatever it is.

    Raises:
        Busy: they would hold more than settings.WEBPOOL_MAX_STORED_SHARE of it.
        RedisError: it does not answer.
    """
    if not is_counted(tenant):
        return
    whole = _store_when_short(size)
    if not whole:
        return
    held = _outputs(tenant) + _inputs(tenant)
    if held and held + size > settings.WEBPOOL_MAX_STORED_SHARE * whole:
        raise Busy(
            f"the tensor store is short, and {held / 2**20:.0f} MB of it are outputs of {tenant} that nobody "
            f"fetched and inputs of their active runs, {size / 2**20:.0f} MB would be added; one owner may "
            f"hold {settings.WEBPOOL_MAX_STORED_SHARE:.0%} of it then (WEBPOOL_MAX_STORED_SHARE); outputs "
            f"expire {settings.WEBPOOL_TENSOR_TTL_S} s after they were made, inputs go with their run",
            retry_after_s=COME_BACK_S,
        )


def _store_when_short(size: int) -> int:
    """The store's memory in bytes where it is short with so many bytes more; else 0.

    For less than `LARGE` it is asked once in `_ENOUGH_FOR_S` at most.
    """
    global _enough_until
    if size < LARGE and time.monotonic() < _enough_until:
        return 0
    memory: Any = client().info("memory")
    whole = int(memory.get("maxmemory", 0))
    if whole and int(memory["used_memory"]) + size >= _SHORT_ABOVE * whole:
        return whole
    _enough_until = time.monotonic() + _ENOUGH_FOR_S
    return 0


def _inputs(tenant: str) -> int:
    """Bytes of the inputs of their runs that are under way."""
    return sum(_input_bytes(json.loads(inputs)) for (inputs,) in rows(_INPUTS, [tenant]))


def _input_bytes(inputs: JsonView) -> int:
    """What parts share is there once."""
    return sum({ref.key: ref.nbytes for ref in refs_in(inputs)}.values())


def _outputs(tenant: str) -> int:
    """Bytes of the outputs of their ended runs that the store still has."""
    since = clock.now() - timedelta(seconds=settings.WEBPOOL_TENSOR_TTL_S)
    made = Run.objects.filter(tenant=tenant, finished_at__gte=since).values_list(
        "outputs", flat=True
    )
    return sum(_lengths(item["key"] for outputs in made for item in outputs.values()))


def _lengths(keys: Iterable[str]) -> list[int]:
    pipe = client().pipeline(transaction=False)
    for key in keys:
        pipe.strlen(key)
    lengths: list[int] = pipe.execute()
    return lengths
