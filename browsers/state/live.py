"""Live state of the browsers: what each worker says of itself, about twice a second.

Redis keys
    webpool:browser:<id>    JSON of `LiveBrowser`, expires with the lease (settings.WEBPOOL_LEASE_S):
                            while the key is there, its worker lives
    webpool:browsers        set of the ids that were ever published
    webpool:held_back       id → draining or quarantined, of browsers that take no new shards
                            (browsers/state/drains.py; the row is the truth)
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.conf import settings

from browsers.core.breakers import Breakers
from browsers.core.stillness import Stillness
from browsers.redis import ask, ask_meanwhile, client, script
from browsers.state import breakers

T = TypeVar("T")
_INDEX = "webpool:browsers"
_HELD_BACK = "webpool:held_back"
DRAINING, QUARANTINED = "draining", "quarantined"
HELD_BACK = frozenset({DRAINING, QUARANTINED})
"""States of a browser that is ready, but takes no new shards."""


def _key(browser_id: str) -> str:
    return f"webpool:browser:{browser_id}"


@dataclasses.dataclass(frozen=True)
class LiveBackend:
    """A backend that answered the known-answer probe, or is asked again before it computes.

    Fastest first in `LiveBrowser.backends`.
    """

    name: str
    software: bool | None
    probe_ms: float | None


@dataclasses.dataclass(frozen=True)
class LiveModel:
    """A model file resident in the browser, with moving averages of what it took there.

    `compute_ms` per run; `row_ms` per row of the batch, where the model has one. `leak_mb` is by how much the
    browser grows with each of its runs; None: not known. `known_answer`: whether the browser, while it is
    idle, is asked for an answer that is known; None: it had no turn yet. `confirmed_at` (Unix time): when
    that was last right; None: not yet.
    """

    backend: str
    bytes: int
    compute_ms: float | None
    row_ms: float | None = None
    leak_mb: float | None = None
    known_answer: bool | None = None
    confirmed_at: float | None = None


@dataclasses.dataclass(frozen=True)
class LiveBrowser:
    """What a worker publishes about its browser.

    `host` and `cores` are its machine's, `threads` how many of them a computation on wasm takes.
    `idle_since` (Unix time) is when its main thread was done with the last task; None while it works.
    `memory_mb` is its process tree's, `page_mb` and `js_heap_mb` what the page measures of itself (Chromium).
    `short_of_memory`: it is over its limit, or its machine is, and will make room between two tasks.
    `withheld`: backends that are not offered, each with the reason.
    `breakers` are not the worker's word but everybody's, read together with it.
    """

    id: str
    kind: str
    family: str
    version: str
    zone: str
    state: str
    worker: str
    heartbeat: float
    backends: tuple[LiveBackend, ...] = ()
    loaded: Mapping[str, LiveModel] = dataclasses.field(default_factory=dict)
    memory_mb: float | None = None
    page_mb: float | None = None
    js_heap_mb: float | None = None
    memory_limit_mb: float | None = None
    resident_bytes: int = 0
    idle_since: float | None = None
    short_of_memory: bool = False
    host: str = ""
    cores: int | None = None
    threads: int = 1
    withheld: Mapping[str, str] = dataclasses.field(default_factory=dict)
    breakers: Breakers = breakers.CLOSED

    @classmethod
    @functools.lru_cache(maxsize=64)  # asked far more often than published
    def from_json(cls, raw: bytes, raw_breakers: bytes | None = None) -> LiveBrowser:
        fields: dict[str, Any] = json.loads(raw)
        fields["backends"] = tuple(LiveBackend(**item) for item in fields["backends"])
        fields["loaded"] = {sha: LiveModel(**item) for sha, item in fields["loaded"].items()}
        return cls(**fields, breakers=breakers.parse(raw_breakers))

    def to_json(self) -> str:
        """Written twice a second by every worker: `dataclasses.asdict` would copy all that is in it."""
        fields = {name: value for name, value in vars(self).items() if name != "breakers"}
        fields["backends"] = [vars(backend) for backend in self.backends]
        fields["loaded"] = {sha256: vars(model) for sha256, model in self.loaded.items()}
        return json.dumps(fields)


def publish(browser: LiveBrowser) -> Breakers:
    """Renew the lease and replace the published state; returns the browser's breakers, read on the way."""
    lease_ms = int(settings.WEBPOOL_LEASE_S * 1000)
    keys = [_key(browser.id), _INDEX, breakers.key_of(browser.id)]
    (raw,) = ask(script(_PUBLISH, keys, [browser.to_json(), lease_ms, browser.id]))
    return breakers.parse(raw)


# KEYS: the browser's, the index, its breakers. ARGV: its state, the lease in ms, its id. A server at its
# memory cap takes this all the same: tensors that fill it must not make the browsers look dead.
_PUBLISH = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
return redis.call('GET', KEYS[3])
"""


def withdraw(browser_id: str) -> None:
    """End the lease at once, as when a worker stops or is known to be dead."""
    client().delete(_key(browser_id))


def living() -> dict[str, LiveBrowser]:
    """Every browser whose lease has not expired, by id, with its breakers; one round trip."""
    return living_meanwhile(lambda: None)[0]


def living_meanwhile(work: Callable[[], T]) -> tuple[dict[str, LiveBrowser], T]:
    """The same, and what `work` returns, which is done while the server is asked."""
    (answer,), done = ask_meanwhile([_ASK_LIVING], work)
    return _living(*answer), done


def _living(raws: Sequence[bytes | None], held: list[bytes]) -> dict[str, LiveBrowser]:
    found = [
        LiveBrowser.from_json(state, guards)
        for state, guards in zip(raws[::2], raws[1::2], strict=True)
        if state is not None
    ]
    states = dict(zip(held[::2], held[1::2], strict=True))
    seen = [_seen(live, states) for live in found] if states else found
    return {live.id: live for live in sorted(seen, key=lambda live: live.id)}


def leases() -> dict[str, float]:
    """How long each lease that has not expired still lasts, in s, by browser; one small round trip."""
    (found,) = ask(script(_LEASES, [_INDEX]))
    return {
        browser_id.decode(): left_ms / 1000
        for browser_id, left_ms in zip(found[::2], found[1::2], strict=True)
    }


# KEYS[1]: the index. Those of its members whose lease has not expired, each with what is left of it, in ms.
_LEASES = """
local held = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local left = redis.call('PTTL', 'webpool:browser:' .. id)
  if left >= 0 then
    held[#held + 1] = id
    held[#held + 1] = left
  end
end
return held
"""


def _seen(live: LiveBrowser, held: Mapping[bytes, bytes]) -> LiveBrowser:
    """What a worker says of itself, and what was asked of its browser meanwhile."""
    state = held.get(live.id.encode()) if live.state == "ready" else None
    return live if state is None else dataclasses.replace(live, state=state.decode())


def hold_back(states: Mapping[str, str]) -> None:
    """Say which browsers take no new shards, id → one of `HELD_BACK`: these and no others."""
    if not states:
        client().delete(_HELD_BACK)
        return
    pipe = client().pipeline()
    pipe.delete(_HELD_BACK)
    pipe.hset(_HELD_BACK, mapping={name: str(state) for name, state in states.items()})
    pipe.execute()


def leases_count() -> bool:
    """Whether a lease that has ended says something.

    A server that was just started, or stood still, knows leases that ended meanwhile: let them be renewed.
    Asked after the leases were looked at.
    """
    up_s: int = client().info("server")["uptime_in_seconds"]
    return note_answer() and up_s > settings.WEBPOOL_LEASE_S


_stillness: Stillness | None = None


def note_answer() -> bool:
    """The server has just answered; whether it, and this process, have done so regularly of late."""
    return _stillness.observe(time.monotonic()) if _stillness else True


def look_regularly() -> None:
    """This process calls `note_answer` about once per sweep from now on: a pause means a standstill."""
    global _stillness
    _stillness = Stillness(
        allowed_s=settings.WEBPOOL_SWEEP_S + settings.WEBPOOL_LEASE_S / 3,
        distrust_s=settings.WEBPOOL_LEASE_S,
    )


# KEYS[1]: the index, KEYS[2]: those held back. The values of all the index's members' keys, null where the
# lease has expired, and who is held back, each with its state.
_LIVING = """
local ids = redis.call('SMEMBERS', KEYS[1])
if #ids == 0 then return {{}, {}} end
local keys = {}
for i, id in ipairs(ids) do  -- of each its live state and its breakers (null: closed)
  keys[2 * i - 1] = 'webpool:browser:' .. id
  keys[2 * i] = 'webpool:breakers:' .. id
end
return {redis.call('MGET', unpack(keys)), redis.call('HGETALL', KEYS[2])}
"""
_ASK_LIVING = script(_LIVING, [_INDEX, _HELD_BACK])
