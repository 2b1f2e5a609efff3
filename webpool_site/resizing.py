"""Give a running pool as many browsers as its work needs: the thread that carries it out.

1. Twice a second it looks which browsers are at work; every two seconds `browsers.core.sizing` decides.
2. To grow, one more worker is added to the supervisor.
3. To shrink, a browser is drained: it takes nothing new and its queue moves. Only when it holds nothing
   is its worker stopped; so nothing is cut off.
4. One that does not get ready within its start deadline is taken out again.

Each change is told to the listener and written down as a `PoolEvent`.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

import psutil
import redis.exceptions
from django.conf import settings
from django.db import DatabaseError

from browsers import clock
from browsers.core import sizing
from browsers.models import Browser, BrowserState, DrainKind, PoolAction, PoolEvent
from browsers.state import drains
from browsers.state.live import LiveBrowser, living
from browsers.supervisor import ProcessSpec, State, Supervisor
from inference.ledger import draining, results
from inference.scheduling.pool_view import outstanding
from webpool_site.browser_list import BrowserSlot
from webpool_site.processes import name_of

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5
_SAMPLE_EVERY_S = 2.0
_HOLDS_NOTHING_FOR_S = 1.0  # a shard that was just chosen for a browser may be a moment late
_MB = 2**20


def limits_from_settings() -> sizing.Limits:
    return sizing.Limits(
        least=settings.WEBPOOL_POOL_MIN,
        most=settings.WEBPOOL_POOL_MAX,
        grow_above=settings.WEBPOOL_POOL_GROW_ABOVE,
        shrink_below=settings.WEBPOOL_POOL_SHRINK_BELOW,
        cooldown_s=settings.WEBPOOL_POOL_COOLDOWN_S,
        memory_share=settings.WEBPOOL_POOL_MEMORY,
    )


@dataclasses.dataclass
class _Leaving:
    slot: BrowserSlot
    empty_since: float | None = None
    stopping: bool = False


class Resizer(threading.Thread):
    """Adds and removes workers of a stack; used by nobody but `Stack`.

    `listed` runs already; its kinds may be added. `spec_of` tells how a browser's worker, named
    `browser.<id>`, is started. `out` is told each change with its reason.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        listed: tuple[BrowserSlot, ...],
        spec_of: Callable[[BrowserSlot], ProcessSpec],
        start_timeout_s: float,
        limits: sizing.Limits,
        out: Callable[[str], object],
    ) -> None:
        super().__init__(name="resizer", daemon=True)
        self._supervisor = supervisor
        self._spec_of = spec_of
        self._start_timeout_s = start_timeout_s
        self._kinds = tuple(dict.fromkeys(slot.kind for slot in listed))
        self._limits = limits
        self._out = out
        self._end = threading.Event()
        self._slots = list(listed)
        self._starting: tuple[BrowserSlot, float] | None = None
        self._leaving: _Leaving | None = None
        self._state = sizing.State(changed_at_s=time.monotonic())
        self._looks: list[float] = []
        self._wants_more = False

    def end(self) -> None:
        """Change nothing more; returns when a change under way is written down."""
        self._end.set()
        if self.is_alive():
            self.join(10.0)

    def run(self) -> None:
        next_sample = time.monotonic() + _SAMPLE_EVERY_S
        while not self._end.wait(_LOOK_EVERY_S):
            try:
                self._go_on()
                self._look()
                if time.monotonic() >= next_sample:
                    next_sample = time.monotonic() + _SAMPLE_EVERY_S
                    self._decide()
            except (redis.exceptions.RedisError, DatabaseError) as error:
                self._looks.clear()
                log.warning("the pool's size stays as it is: %s", error)
            except Exception:
                log.exception("the pool's size stays as it is")

    # --- seeing -------------------------------------------------------------------------------------

    def _look(self) -> None:
        alive, held = living(), outstanding()
        asked = [alive[s.id] for s in self._slots if s.id in alive and self._counts(s)]
        if asked:
            self._looks.append(sum(_at_work(live, held) for live in asked) / len(asked))

    def _counts(self, slot: BrowserSlot) -> bool:
        return self._starting is None or self._starting[0] != slot

    def _sample(self) -> sizing.Sample:
        busy = sum(self._looks) / len(self._looks) if self._looks else None
        self._looks.clear()
        alive, held, memory = living(), outstanding(), psutil.virtual_memory()
        members = [
            sizing.Member(
                slot.id,
                slot.kind,
                held.get(slot.id, 0),
                alive[slot.id].memory_mb if slot.id in alive else None,
            )
            for slot in self._slots
        ]
        return sizing.Sample(
            at_s=time.monotonic(),
            busy=busy,
            members=members,
            kinds=self._kinds,
            kept=frozenset(self._kinds),
            unsettled=self._starting is not None or self._leaving is not None,
            memory_used_mb=(memory.total - memory.available) / _MB,
            memory_total_mb=memory.total / _MB,
        )

    # --- doing --------------------------------------------------------------------------------------

    def _decide(self) -> None:
        self._state, decision = sizing.decide(self._state, self._sample(), self._limits)
        match decision:
            case sizing.Grow(kind, reason):
                self._grow(kind, reason)
            case sizing.Shrink(browser_id, reason):
                self._shrink(browser_id, reason)
            case sizing.Stay(reason, wants_more):
                if wants_more and not self._wants_more:
                    self._out(f"  the pool stays at {len(self._slots)} browsers: {reason}")
                self._wants_more = wants_more

    def _grow(self, kind: str, reason: str) -> None:
        slot = _free_slot(kind, self._slots)
        drains.clear(slot.id)  # it may have left by a drain
        self._supervisor.add(self._spec_of(slot))
        self._slots.append(slot)
        self._starting = (slot, time.monotonic() + self._start_timeout_s)
        self._tell(PoolAction.GREW, slot, reason)

    def _shrink(self, browser_id: str, reason: str) -> None:
        slot = next(slot for slot in self._slots if slot.id == browser_id)
        self._leaving = _Leaving(slot)
        self._tell(PoolAction.DRAINED, slot, reason)
        kind = DrainKind.SHRINKING
        draining.drain(browser_id, kind=kind, reason=f"{kind.label}: {reason}")

    def _go_on(self) -> None:
        """The change that is under way, if any."""
        if self._starting is not None:
            self._await_start(*self._starting)
        if self._leaving is not None:
            self._await_end(self._leaving)

    def _await_start(self, slot: BrowserSlot, until: float) -> None:
        state = self._state_of(slot)
        if state is State.READY:
            self._starting = None
        elif time.monotonic() > until or state is State.FAILED:
            self._starting = None
            self._leaving = _Leaving(slot)
            self._tell(PoolAction.DRAINED, slot, "it did not get ready in time")
            kind = DrainKind.SHRINKING
            drains.mark(slot.id, kind, reason=f"{kind.label}: it did not get ready in time")

    def _await_end(self, leaving: _Leaving) -> None:
        slot, now = leaving.slot, time.monotonic()
        if not leaving.stopping:
            if draining.left(slot.id) and slot.id in living():
                leaving.empty_since = None
                return
            leaving.empty_since = leaving.empty_since or now
            if now - leaving.empty_since >= _HOLDS_NOTHING_FOR_S:
                leaving.stopping = True
                self._supervisor.remove(name_of(slot))
        elif self._state_of(slot) in (State.STOPPED, State.FAILED):
            self._slots.remove(slot)
            self._leaving = None
            results.owner_died(slot.id, f"{slot.id} left the pool")
            _retire(slot.id)
            self._tell(PoolAction.SHRANK, slot, "it held nothing any more")

    def _state_of(self, slot: BrowserSlot) -> State | None:
        name = name_of(slot)
        return next((c.state for c in self._supervisor.status() if c.name == name), None)

    def _tell(self, action: PoolAction, slot: BrowserSlot, reason: str) -> None:
        size = len(self._slots)
        self._out(f"  browser {slot.id:<16} {action.label}: {reason} ({size} browsers)")
        PoolEvent.objects.create(
            action=action,
            browser=slot.id,
            kind=slot.kind,
            reason=reason,
            browsers=size,
            utilisation=self._state.average,
            memory_used_percent=psutil.virtual_memory().percent,
        )


def _at_work(live: LiveBrowser, held: dict[str, int]) -> bool:
    return live.idle_since is None or held.get(live.id, 0) > 0


def _free_slot(kind: str, taken: list[BrowserSlot]) -> BrowserSlot:
    ids = {slot.id for slot in taken}
    names = [kind, *(f"{kind}-{number}" for number in range(2, len(taken) + 3))]
    return BrowserSlot(id=next(name for name in names if name not in ids), kind=kind)


def _retire(browser_id: str) -> None:
    Browser.objects.filter(pk=browser_id).update(
        state=BrowserState.STOPPED, reason="the pool shrank", state_changed_at=clock.now()
    )
    drains.clear(browser_id)
