"""Repairs of one browser, one rung after the other, each written down as an incident."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from django.db.models import F

from browsers import restart_lock
from browsers.core.errors import BrowserError
from browsers.core.failures import Category, Rung
from browsers.core.repair import next_rung
from browsers.models import Browser, Incident
from browsers.session import BrowserSession
from browsers.state import breakers
from browsers.worker.status import Status

log = logging.getLogger(__name__)
# How long one rung may take with its probe. Whoever takes longer is stuck.
RUNG_S = 180.0
_TURN_WITHIN_S = 60.0
_PAGE_ANSWERS_S = 2.0
_CONNECTS_AGAIN_S = 0.5
Bounded = Callable[[float], AbstractContextManager[None]]


class Ladder:
    """Climbs in the main thread. `bounded(seconds)`: for so long the keeper lets it be in the browser;
    `forget` is called when the page is another one."""

    def __init__(
        self,
        browser_id: str,
        session: BrowserSession,
        status: Status,
        forget: Callable[[], None],
        bounded: Bounded,
    ) -> None:
        self._id, self._session, self._status = browser_id, session, status
        self._forget, self._bounded = forget, bounded
        self._acts: dict[Rung, Callable[[], object]] = {
            Rung.PING: self._ping,
            Rung.RESTART_ENGINE: session.restart_engine,
            Rung.RECONNECT: lambda: session.reconnect(_PAGE_ANSWERS_S),
            Rung.REFRESH: lambda: session.refresh(polite=True),
            Rung.RESTART: self._restart,
        }

    def climb(self, category: Category, message: str, first: Rung | None) -> bool:
        """From the first rung that can help until the known answers are right again; False: none helped."""
        rung = next_rung(None, first)
        while rung is not None:
            began = time.monotonic()
            repaired, hint = self._try(rung)
            Incident.objects.create(
                browser_id=self._id,
                category=category,
                message=message[:2000],
                rung=rung.value,
                repaired=repaired,
                duration_ms=(time.monotonic() - began) * 1000,
            )
            if repaired:
                Browser.objects.filter(pk=self._id).update(repairs=F("repairs") + 1)
                self._status.breakers = breakers.repaired(self._id)
                return True
            rung = next_rung(rung, hint)
        return False

    def _ping(self) -> None:
        """A page whose connection was cut connects again by itself: it gets a moment to."""
        until = time.monotonic() + _CONNECTS_AGAIN_S
        while not self._session.connected and self._session.alive() and time.monotonic() < until:
            time.sleep(0.01)
        self._session.ping(_PAGE_ANSWERS_S)

    def _restart(self) -> None:
        """On a machine that is short of memory one browser after the other, as long as that is bearable."""
        short = self._status.memory.machine_short
        with (
            restart_lock.turn(self._id, wait_s=_TURN_WITHIN_S)
            if short
            else contextlib.nullcontext()
        ):
            self._session.restart(polite=True)

    def _try(self, rung: Rung) -> tuple[bool, Rung | None]:
        """Climb the rung, then two known answers, which close a breaker; else what its error hints at."""
        try:
            with self._bounded(RUNG_S):
                self._acts[rung]()
                self._session.probe()
                self._session.probe()
                self._session.at_full_speed()
        except BrowserError as error:
            log.warning("%s: %s did not help: %s", self._id, rung, error)
            return False, error.first_rung
        except Exception:
            log.exception("%s: %s did not help", self._id, rung)
            return False, None
        self._forget()
        self._status.note_backends()
        return True, None
