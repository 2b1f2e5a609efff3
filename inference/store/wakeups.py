"""Tell whoever waits how a run ended, and wait for it without polling.

Redis keys
    webpool:done:<run id>    list with an element once the run is terminal: JSON of its `Ending`; a waiter
                             moves the element onto the same list, so that every waiter wakes
    webpool:taken:<run id>   there while somebody waits who takes the outputs for himself: small ones follow
                             the JSON after a newline, one after the other, and the store gives them up
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

from browsers.redis import ask, blocking_client, client, script
from inference.documents import JsonObject, JsonView
from inference.store.tensors import SMALL, TensorRef, refs_of

# Who waits hears at once; one that stood still for longer is as good as gone.
_TAKEN_WITHIN_S = 120
Values = Mapping[str, bytes]
"""Bytes of tensors by their keys."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run ended, as it was written down; the fields are those of `Run`."""

    state: str
    outputs: JsonView
    error_category: str
    error: str
    finished_at: datetime

    def to_bytes(self) -> bytes:
        fields = {**vars(self), "finished_at": self.finished_at.isoformat()}
        return json.dumps(fields).encode()


@dataclasses.dataclass(frozen=True)
class Told:
    """An ending as it is heard; `values`: the outputs, None where they are to be read from the store."""

    ending: Ending
    values: Values | None

    @classmethod
    def from_bytes(cls, raw: bytes) -> Told:
        head, told, tail = raw.partition(b"\n")
        fields: JsonObject = json.loads(head)
        ending = Ending(**{**fields, "finished_at": datetime.fromisoformat(fields["finished_at"])})
        if not told:
            return cls(ending, None)
        values, at = {}, 0
        for ref in _outputs(ending):
            values[ref.key] = tail[at : at + ref.nbytes]
            at += ref.nbytes
        return cls(ending, values)


def _outputs(ending: Ending) -> list[TensorRef]:
    """Each tensor once: a model may give one out under several names."""
    return list({ref.key: ref for ref in refs_of(ending.outputs).values()}.values())


def _key(run_id: uuid.UUID | str) -> str:
    return f"webpool:done:{run_id}"


def taken_key(run_id: uuid.UUID | str) -> str:
    return f"webpool:taken:{run_id}"


def announce(run_id: uuid.UUID, ending: Ending, drop: Iterable[TensorRef] = ()) -> None:
    """Wake whoever waits for the run, and tell how it ended; who takes the outputs hears small ones with it.

    `drop`: tensors that nobody will ask for again are freed in the same moment.
    """
    refs = _outputs(ending)
    told = [ref.key for ref in refs] if sum(ref.nbytes for ref in refs) <= SMALL else []
    keys = [_key(run_id), taken_key(run_id), *told, *(ref.key for ref in drop)]
    kept_s = settings.WEBPOOL_TENSOR_TTL_S
    ask(script(_ANNOUNCE, keys, [ending.to_bytes(), kept_s, len(told), _TAKEN_WITHIN_S]))


# KEYS: the run's list, its mark of who takes the outputs, those that can be told, what is dropped anyway.
# ARGV: the ending and how long it is kept, how many outputs, and how long it is kept with them.
# The bytes come from the store's own keys; where one is gone, none is told. A server at its memory cap takes
# this all the same.
_ANNOUNCE = """#!lua flags=allow-oom
local outputs = tonumber(ARGV[3])
local told = redis.call('DEL', KEYS[2]) == 1 and outputs > 0
local said = {ARGV[1] .. '\\n'}
for i = 1, told and outputs or 0 do
  local value = redis.call('GET', KEYS[2 + i])
  told = told and value
  said[i + 1] = value or ''
end
redis.call('LPUSH', KEYS[1], told and table.concat(said) or ARGV[1])
redis.call('EXPIRE', KEYS[1], told and ARGV[4] or ARGV[2])
for i = told and 3 or 3 + outputs, #KEYS do redis.call('UNLINK', KEYS[i]) end
"""


def announce_again(endings: Mapping[uuid.UUID, Ending]) -> None:
    """Wake whoever waits for runs that may be unheard; what was told with its outputs stands."""
    kept_s = settings.WEBPOOL_TENSOR_TTL_S
    ask(*(script(_AGAIN, [_key(pk)], [it.to_bytes(), kept_s]) for pk, it in endings.items()))


_AGAIN = """#!lua flags=allow-oom
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('LPUSH', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
"""


def told_values(run_id: uuid.UUID | str) -> Values | None:
    """The outputs as they were told, for who was not listening; None: they were not, or it is long ago."""
    heard = cast("list[bytes]", client().lrange(_key(run_id), 0, -1))
    return next((values for raw in heard if (values := Told.from_bytes(raw).values)), None)


def keep(run_id: uuid.UUID | str) -> None:
    """Nobody takes the run's outputs after all."""
    client().unlink(taken_key(run_id))


def _heard(element: object) -> Told | None:
    return Told.from_bytes(cast("bytes", element)) if element else None


def _seconds(timeout_s: float) -> int:
    return cast("int", max(timeout_s, 0.01))  # the server takes fractions, redis-py's types do not


def wait(run_id: uuid.UUID | str, timeout_s: float) -> Told | None:
    """Block until the run is announced; None when the time is over first."""
    key = _key(run_id)
    (element,) = ask(("BLMOVE", key, key, "LEFT", "RIGHT", _seconds(timeout_s)))
    return _heard(element)


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


async def wait_async(run_id: uuid.UUID | str, timeout_s: float) -> Told | None:
    """As `wait`, without holding a thread."""
    key = _key(run_id)
    seconds = _seconds(timeout_s)
    return _heard(await _waiting_client().blmove(key, key, seconds, "LEFT", "RIGHT"))
