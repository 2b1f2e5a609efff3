"""What no computation notices: a keeper of the lease, a finger on the page's pulse, and events.

The keeper's thread renews the lease and asks the main thread for what is left to do; another one feels the
page's pulse, for a page that hangs closes no socket; the bridge's threads report events.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

import redis.exceptions
from django.conf import settings

from browsers import clock
from browsers.core.breaker import BreakerState
from browsers.core.errors import BrowserCrash, BrowserError, DeadlinePassed
from browsers.core.failures import Category, Rung
from browsers.models import BrowserState
from browsers.session import BrowserSession, SessionEvent
from browsers.worker.own_tasks import OwnTasks
from browsers.worker.status import Status

log = logging.getLogger(__name__)
_ASK_AGAIN_S = 2.0
_RELIEF_EVERY_S = 15.0  # behind the work that waits
# A page answers in milliseconds, whatever its engine computes; on a starved machine it takes longer.
_PULSE_EVERY_S = 2.0
_PULSE_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.1
_DOUBT_EVERY_S = (
    10.0  # whoever sends what no browser can compute shall not have it asked all the time
)


class Watch:
    """Asks this worker's main thread for a repair, a probe, a relief, a known answer.

    Attributes:
        broken: what broke, until it is repaired.
        stuck_after: when the main thread has been in the browser's hands for too long (monotonic).
    """

    def __init__(self, browser_id: str, status: Status) -> None:
        self.broken: SessionEvent | None = None
        self.stuck_after = float("inf")
        self._id, self._status = browser_id, status
        self._tasks = OwnTasks(browser_id)
        self._stop = threading.Event()
        self._stopped: frozenset[str] = frozenset()  # what was found stopped at the last look
        self._next_request = self._next_relief = 0.0
        self._next_check = time.monotonic() + settings.WEBPOOL_CHECK_EVERY_S
        self._doubted, self._next_doubt = False, 0.0
        self._work_due: Callable[[], bool] = lambda: False

    def start(self, session: BrowserSession) -> None:
        self._work_due = lambda: session.idle.due and not self._status.memory.shortage
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()
        threading.Thread(
            target=self._feel_pulse, args=(session,), name="pulse", daemon=True
        ).start()

    def stop(self) -> None:
        self._stop.set()

    def heard(self, event: SessionEvent) -> None:
        """Called by the bridge's threads: a page, engine or device went away."""
        if self._stop.is_set() or self._status.state != BrowserState.READY:
            return
        log.warning("%s: %s", self._id, event)
        self.broken = event
        self._status.state = BrowserState.RECOVERING
        try:
            self._status.publish()
            self._tasks.repair()
        except Exception:
            log.exception("%s: no repair could be asked for; the keeper asks again", self._id)

    def doubt(self) -> None:
        """Have a known answer asked for soon, idle or not: the browser refused what may be right."""
        self._doubted = True

    def catch_up(self, session: BrowserSession) -> None:
        """What broke while the browser was being repaired, when nobody listens to events."""
        if not session.connected:
            why = "the page went away while the browser was being repaired"
            self.heard(SessionEvent("closed", Category.CONNECTION, why, Rung.PING))

    def _keep(self) -> None:
        while not self._stop.wait(settings.WEBPOOL_HEARTBEAT_S):
            now = time.monotonic()
            if now > self.stuck_after:
                log.critical("%s: the main thread is stuck in the browser; starting anew", self._id)
                os._exit(os.EX_SOFTWARE)
            try:
                self._status.publish()
                self._ask_main_thread(now)
            except redis.exceptions.RedisError as error:
                log.warning("%s: live state could not be published: %s", self._id, error)
            except Exception:
                log.exception("%s: keeper", self._id)

    def _ask_main_thread(self, now: float) -> None:
        """The main thread knows nothing of memory to be given back, nor, idle, of what else is due."""
        relief = self._status.memory.relief_is_due(now) and now >= self._next_relief
        if relief and self._status.state == BrowserState.READY:
            self._next_relief = now + _RELIEF_EVERY_S
            self._tasks.relieve()
        if self._doubted and now >= self._next_doubt and self._status.state == BrowserState.READY:
            self._doubted, self._next_doubt = False, now + _DOUBT_EVERY_S
            self._tasks.check()
        idle_since = self._status.idle_since
        if now < self._next_request or idle_since is None:
            return
        if clock.unix() - idle_since < _ASK_AGAIN_S:
            return
        if self._status.state == BrowserState.RECOVERING:
            self._next_request = now + _ASK_AGAIN_S
            self._tasks.repair()
        elif self._status.state == BrowserState.READY and self._half_open():
            self._next_request = now + _ASK_AGAIN_S
            self._tasks.probe()
        elif self._status.state == BrowserState.READY and self._work_due():
            self._next_request = now + _ASK_AGAIN_S
            self._tasks.check()
        elif self._status.state == BrowserState.READY and now >= self._next_check:
            self._next_check = now + settings.WEBPOOL_CHECK_EVERY_S
            self._tasks.check()

    def _half_open(self) -> bool:
        return self._status.breakers.state(clock.unix()) is BreakerState.HALF_OPEN

    def _feel_pulse(self, session: BrowserSession) -> None:
        while not self._stop.wait(_PULSE_EVERY_S):
            if self._status.state not in (BrowserState.READY, BrowserState.RECOVERING):
                continue
            silent = session.connection
            try:
                session.ping(_PULSE_WITHIN_S)
                if self._look_for_stopped(session) and self._is_held_up():
                    session.cut(silent)
            except DeadlinePassed:
                if self._status.state == BrowserState.READY:
                    log.warning("%s: no pulse for %g s", self._id, _PULSE_WITHIN_S)
                    why = f"no pulse for {_PULSE_WITHIN_S:g} s"
                    # The page hangs, or only its connection does; a new engine would be asked over it, too.
                    self.heard(SessionEvent("hung", Category.TIMEOUT, why, Rung.RECONNECT))
                # Whoever waits for an answer waits no longer, such as the main thread, which is to repair
                # what a text's step told. A repair may have a new connection by now.
                session.cut(silent)
            except BrowserCrash as crash:  # as a rule its event was heard before
                self.heard(SessionEvent("gone", crash.category, str(crash), crash.first_rung))
            except BrowserError:
                pass  # a cut socket, connected again
            except Exception:
                log.exception("%s: pulse", self._id)

    def _is_held_up(self) -> bool:
        """Whether the repair waits for what the main thread is at, which may never be answered."""
        until = time.monotonic() + _PULSE_WITHIN_S
        while self._status.state == BrowserState.RECOVERING:
            if self._stop.wait(_LOOK_EVERY_S):
                return False
            if time.monotonic() > until:
                return True
        return False

    def _look_for_stopped(self, session: BrowserSession) -> bool:
        """Whether its browser or driver stands still: a page computes on without them for a while."""
        before, self._stopped = self._stopped, frozenset(session.stopped())
        if still := before & self._stopped:
            why = f"stopped for {_PULSE_EVERY_S:g} s: {', '.join(sorted(still))}"
            self.heard(SessionEvent("stopped", Category.TIMEOUT, why, Rung.RESTART))
            return True
        return False

    @property
    def hung(self) -> bool:
        return self.broken is not None and self.broken.name == "hung"
