"""Live state of the browsers: what each worker says of itself, about twice a second.

Redis keys
    webpool:browser:<id>    JSON of `LiveBrowser`, expires with the lease (settings.WEBPOOL_LEASE_S):
                            while the key is there, its worker lives
    webpool:browsers        set of the ids that were ever published
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import redis
from django.conf import settings

from browsers.redis import client

_INDEX = "webpool:browsers"


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

    `compute_ms` per run; `row_ms` per row of the batch, where the model has one.
    """

    backend: str
    bytes: int
    compute_ms: float | None
    row_ms: float | None = None


@dataclasses.dataclass(frozen=True)
class LiveBrowser:
    """What a worker publishes about its browser.

    `idle_since` (Unix time) is when its main thread was done with the last task; None while it works.
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
    memory_limit_mb: float | None = None
    resident_bytes: int = 0
    idle_since: float | None = None

    @classmethod
    @functools.lru_cache(maxsize=64)  # asked far more often than published
    def from_json(cls, raw: bytes) -> LiveBrowser:
        fields: dict[str, Any] = json.loads(raw)
        fields["backends"] = tuple(LiveBackend(**item) for item in fields["backends"])
        fields["loaded"] = {sha: LiveModel(**item) for sha, item in fields["loaded"].items()}
        return cls(**fields)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def publish(browser: LiveBrowser) -> None:
    """Renew the lease and replace the published state."""
    pipe = client().pipeline(transaction=False)
    pipe.set(_key(browser.id), browser.to_json(), px=int(settings.WEBPOOL_LEASE_S * 1000))
    pipe.sadd(_INDEX, browser.id)
    pipe.execute()


def withdraw(browser_id: str) -> None:
    """End the lease at once, as when a worker stops or is known to be dead."""
    client().delete(_key(browser_id))


def living() -> dict[str, LiveBrowser]:
    """Every browser whose lease has not expired, by id; one round trip."""
    found = [LiveBrowser.from_json(item) for item in _living(client()) if item is not None]
    return {live.id: live for live in sorted(found, key=lambda live: live.id)}


# KEYS[1]: the index. The values of all its members' keys, null where the lease has expired.
_LIVING = """
local ids = redis.call('SMEMBERS', KEYS[1])
if #ids == 0 then return {} end
local keys = {}
for i, id in ipairs(ids) do keys[i] = 'webpool:browser:' .. id end
return redis.call('MGET', unpack(keys))
"""


def _living(server: redis.Redis) -> list[bytes | None]:
    return server.register_script(_LIVING)(keys=[_INDEX], client=server)
