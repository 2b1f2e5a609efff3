"""What a worker says of its browser: its row tells what it is, its lease how it feels."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import uuid
from typing import Any

import psutil
import redis.exceptions
from django.conf import settings
from django.db.models import F

from browsers import clock
from browsers.core.answers.known import Checks
from browsers.core.breakers import Breakers
from browsers.core.leaks import Leak
from browsers.models import Browser, BrowserState
from browsers.session import BrowserFacts, BrowserSession
from browsers.state import breakers, live
from browsers.worker.memory import Memory
from browsers.worker.pace import Pace


class Status:
    """State, memory and breakers of one browser, as last known here.

    Attributes:
        state: as in the row, and a moment earlier.
        facts: what the browser was when its backends were last asked.
        memory: what it takes, as looked at every few seconds.
        held: the files that were loaded when it last took work.
        idle_since: when the main thread was done with its last task; None while it works.
        breakers: as of the last heartbeat, or of what this process changed since.
    """

    def __init__(
        self,
        browser_id: str,
        kind: str,
        family: str,
        session: BrowserSession,
        pace: Pace,
        memory: Memory,
        checks: Checks,
        limit_mb: float,
    ) -> None:
        self.state = BrowserState.STARTING
        self.facts: BrowserFacts | None = None
        self.memory = memory
        self.held: frozenset[str] = frozenset()
        self.idle_since: float | None = clock.now().timestamp()
        self.breakers: Breakers = breakers.CLOSED
        self._id, self._kind, self._family = browser_id, kind, family
        self._session, self._pace, self._checks = session, pace, checks
        self._limit_mb = limit_mb
        self.instance = uuid.uuid4().hex
        self._withdrawn = False
        self._lock = threading.Lock()

    # --- live state ---

    def publish(self) -> None:
        """Renew the lease; from any thread.

        Raises:
            RedisError: the lease runs out if this goes on.
        """
        with self._lock:
            if not self._withdrawn:
                self.breakers = live.publish(self.live())

    def withdraw(self) -> None:
        """End the lease for good; without Redis it expires."""
        with self._lock, contextlib.suppress(redis.exceptions.RedisError):
            self._withdrawn = True
            live.withdraw(self._id)

    def live(self) -> live.LiveBrowser:
        facts = self._session.facts
        backends = facts.backends if facts else ()
        # A file that is on two backends is listed with the one that was used last.
        loaded = sorted(self._session.loaded(), key=lambda model: model.last_used)
        if self.state == BrowserState.READY:
            self.held = frozenset(model.sha256 for model in loaded)
        return live.LiveBrowser(
            id=self._id,
            kind=self._kind,
            family=self._family,
            version=self.facts.version if self.facts else "",
            zone=settings.WEBPOOL_ZONE,
            state=self.state,
            worker=self.instance,
            heartbeat=clock.unix(),
            backends=tuple(
                live.LiveBackend(b.name, b.software, b.probe_ms) for b in backends if b.offered
            ),
            loaded={
                m.sha256: live.LiveModel(
                    m.backend,
                    m.bytes,
                    self._pace.compute_ms(m.sha256, m.backend),
                    self._pace.row_ms(m.sha256, m.backend),
                    _mb_per_run(self.memory.leak(m.sha256)),
                    check.known if (check := self._checks.of(m.sha256)) else None,
                    check.confirmed_at if check else None,
                )
                for m in loaded
            },
            memory_mb=self.memory.tree_mb,
            page_mb=facts_of.page_mb if (facts_of := self.memory.facts) else None,
            js_heap_mb=facts_of.js_heap_mb if facts_of else None,
            memory_limit_mb=self._limit_mb,
            resident_bytes=sum(m.bytes for m in loaded),
            idle_since=self.idle_since,
            short_of_memory=bool(self.memory.shortage),
            host=socket.gethostname(),
            cores=os.cpu_count(),
            threads=settings.WEBPOOL_THREADS,
            withheld={b.name: b.error for b in backends if b.error and not b.offered},
        )

    # --- the row ---

    def save(self, state: BrowserState, reason: str) -> None:
        self.state = state
        Browser.objects.update_or_create(
            pk=self._id,
            defaults={
                "kind": self._kind,
                "family": self._family,
                "state": state,
                "reason": reason,
                "worker_pid": os.getpid(),
                "state_changed_at": clock.now(),
            },
        )

    def note_backends(self) -> None:
        """Tell in the row what was learnt of the backends since, such as that a late one answered."""
        facts = self._session.facts
        if facts is None or self.facts is None:
            return
        told = {each.name: (each.offered, each.error) for each in self.facts.backends}
        if told != {each.name: (each.offered, each.error) for each in facts.backends}:
            Browser.objects.filter(pk=self._id).update(backends=_documents(facts))
        self.facts = facts

    def save_facts(self, facts: BrowserFacts) -> None:
        self.facts = facts
        Browser.objects.filter(pk=self._id).update(
            version=facts.version,
            driver_version=facts.driver_version or "",
            user_agent=facts.user_agent,
            host=socket.gethostname(),
            zone=settings.WEBPOOL_ZONE,
            cores=os.cpu_count(),
            system_memory_mb=psutil.virtual_memory().total / 2**20,
            memory_limit_mb=self._limit_mb,
            gpu=facts.gpu,
            backends=_documents(facts),
            starts=F("starts") + 1,
        )


def _mb_per_run(leak: Leak | None) -> float | None:
    return leak.mb_per_run if leak else None


def _documents(facts: BrowserFacts) -> list[dict[str, Any]]:
    return [dataclasses.asdict(backend) for backend in facts.backends]
