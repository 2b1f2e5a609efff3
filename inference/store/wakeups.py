"""Tell whoever waits how a run ended, and wait for it without polling.

Redis key
    webpool:done:<run id>    list with an element, JSON of its `Ending`, once the run is terminal; a waiter
                             moves the element onto the same list, so that every waiter wakes
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

import redis.asyncio
from django.conf import settings

from browsers.redis import blocking_client, client
from inference.documents import JsonObject, JsonView
from inference.store.tensors import TensorRef


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run ended, as it was written down; the fields are those of `Run`."""

    state: str
    outputs: JsonView
    error_category: str
    error: str
    finished_at: datetime

    def to_json(self) -> str:
        fields = {**vars(self), "finished_at": self.finished_at.isoformat()}
        return json.dumps(fields)

    @classmethod
    def from_json(cls, raw: bytes | str) -> Ending:
        fields: JsonObject = json.loads(raw)
        return cls(**{**fields, "finished_at": datetime.fromisoformat(fields["finished_at"])})


def _key(run_id: uuid.UUID | str) -> str:
    return f"webpool:done:{run_id}"


def announce(endings: Mapping[uuid.UUID, Ending], drop: Iterable[TensorRef] = ()) -> None:
    """Wake whoever waits for these runs, and tell how they ended; again does no harm.

    `drop`: tensors that nobody will ask for again are freed in the same round trip, after that.
    """
    pipe = client().pipeline(transaction=False)
    for run_id, ending in endings.items():
        pipe.lpush(_key(run_id), ending.to_json())
        pipe.expire(_key(run_id), settings.WEBPOOL_TENSOR_TTL_S)
    if keys := [ref.key for ref in drop]:
        pipe.unlink(*keys)
    pipe.execute()


def _heard(element: bytes | str | None) -> Ending | None:
    return Ending.from_json(element) if element else None


def _seconds(timeout_s: float) -> int:
    return cast("int", max(timeout_s, 0.01))  # the server takes fractions, redis-py's types do not


def wait(run_id: uuid.UUID | str, timeout_s: float) -> Ending | None:
    """Block until the run is announced; None when the time is over first."""
    key = _key(run_id)
    seconds = _seconds(timeout_s)
    return _heard(blocking_client().blmove(key, key, seconds, "LEFT", "RIGHT"))


def wait_any(run_ids: Sequence[uuid.UUID | str], timeout_s: float) -> bool:
    """Block until one of these runs is announced; False when the time is over first."""
    seconds = _seconds(timeout_s)
    popped = blocking_client().blpop([_key(run_id) for run_id in run_ids], seconds)
    if popped is None:
        return False
    key, element = popped
    blocking_client().rpush(key, element)  # for other waiters; the key's expiry is set anew
    blocking_client().expire(key, settings.WEBPOOL_TENSOR_TTL_S)
    return True


_waiters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
    weakref.WeakKeyDictionary()
)


def _waiting_client() -> redis.asyncio.Redis:
    """The running event loop's connections, one per waiter; idle ones are kept for the next."""
    loop = asyncio.get_running_loop()
    if loop not in _waiters:
        _waiters[loop] = redis.asyncio.Redis.from_url(
            settings.WEBPOOL_REDIS_URL, socket_timeout=None, socket_connect_timeout=2
        )
    return _waiters[loop]


async def wait_async(run_id: uuid.UUID | str, timeout_s: float) -> Ending | None:
    """As `wait`, without holding a thread."""
    key = _key(run_id)
    seconds = _seconds(timeout_s)
    return _heard(await _waiting_client().blmove(key, key, seconds, "LEFT", "RIGHT"))
