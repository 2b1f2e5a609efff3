"""The control worker's thread for sessions: what it is told, and what nobody tells it.

1. A stage was lost, went on, or gives nothing that its standby does not have, or the session ended: as the
   browsers' workers say; a worker ended: as the supervisor says.
2. A stage's browser is gone, is drained, is being repaired for a while, or was started anew since; or a
   standby's.
3. A stage has input and gives nothing for longer than its own steps took, and its browser does not tell.
4. The store is another one, or was started anew: it may have lost what was written last.
5. Whoever gave a stage on died before the store or its new browser knew of it.
6. What was told is written down every second; a session whose end nobody told of is found by that.

While no session is under way it asks the database once a second whether one is, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

import redis.exceptions
from django.conf import settings
from django.db import DatabaseError

from browsers import clock
from browsers.core.failures import Category
from browsers.models import BrowserState
from browsers.redis import blocking_client, client
from browsers.state import live
from inference.core.generation import control
from inference.core.generation.control import Ahead, CaughtUp, Done, Gone, Lost
from inference.generation import endings, recovery, streams
from inference.generation.takeover import following
from inference.generation.takeover.finding import Finder
from inference.models import GenerationSession, GenerationStage, SessionState
from inference.store.under_way import under_way

log = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.25
_WRITE_EVERY_S: Final = 1.0
_REST_S: Final = 1.0
_MOST_AT_ONCE: Final = 64  # messages
_BEYOND_S: Final = 2.0  # the browser's worker notices first, and says more
_REPAIR_S: Final = 1.0  # a socket that was cut is connected again before
_UNOPENED_S: Final = 2.0  # a browser says what it is at twice a second


class Watcher:
    """Used by one thread."""

    def __init__(self) -> None:
        self._store = ""  # which run of the server the sessions were last seen in
        self._wrote = 0.0
        self._finder = Finder()
        self._reached: dict[str, tuple[object, float]] = {}
        self._repaired: dict[int, tuple[int, float]] = {}  # by stage; see `_in_repair`
        self._unopened: dict[int, tuple[int, float]] = {}  # by stage; see `_send_again`
        self._stays: dict[int, float] = {}  # stages that nobody else could take, and when
        self._unheard = (
            True  # whoever watched before may have died of a message, or the database been away
        )

    def turn(self) -> None:
        """Wait a moment for messages, and look around."""
        active = under_way().texts
        pause: Any = _LOOK_EVERY_S if active else _REST_S
        if self._unheard:
            for left in client().lrange(streams.HEARING, 0, -1):
                self._take(left)
        told: Any = blocking_client().blmove(streams.TOLD, streams.HEARING, pause, "RIGHT", "LEFT")
        taken = 0
        while told is not None:
            self._take(told)
            taken += 1
            more = taken < _MOST_AT_ONCE  # a browser's end is told by each stage that it had
            told = client().lmove(streams.TOLD, streams.HEARING, "RIGHT", "LEFT") if more else None
        self._unheard = False
        if active:
            self._look()

    # --- what is told ---

    def _take(self, told: Any) -> None:
        """What was heard is forgotten when it was acted on: twice does no harm."""
        self._unheard = True
        self._hear(told)
        client().lrem(streams.HEARING, 1, told)

    def _hear(self, told: bytes) -> None:
        try:
            message = control.read(told)
        except ValueError as error:  # of another version: the look finds what it was about
            log.warning("passed over: %s", error)
            return
        match message:
            case Lost(session, stage, epoch, category, why):
                recovery.give(session, stage, epoch, category, why)
            case CaughtUp(session, stage, epoch, seconds):
                endings.note_resumed(session, stage, epoch, seconds)
            case Ahead(session, stage, epoch, position, seconds):
                recovery.overtake(session, stage, epoch, position, seconds, clock.now())
            case Gone():
                pass  # `_look` comes next
            case Done(session):
                found = GenerationSession.objects.active().filter(pk=session).first()
                if found is not None:
                    endings.write_down(found)

    # --- what nobody tells ---

    def _look(self) -> None:
        if self._store_is_another():
            for session in _active():
                if not endings.write_down(session):
                    recovery.rebuild(session, "the store was started anew")
        self._look_at_browsers()
        now = time.monotonic()
        if now - self._wrote >= _WRITE_EVERY_S:
            self._wrote = now
            recovery.place_waiting(clock.now(), settings.WEBPOOL_RUN_DEADLINE_S)
            self._look_at_standbys()
            sessions = _active()
            standing = [session for session in sessions if self._look_after(session, now)]
            self._finder.keep(standing, clock.now())
            known = {str(session.pk) for session in sessions}
            self._reached = {key: at for key, at in self._reached.items() if key in known}

    def _look_at_standbys(self) -> None:
        alive = live.living()
        if live.leases_count():  # asked after it, as above
            following.look(alive, clock.now())

    def _store_is_another(self) -> bool:
        info: Any = client().info("server")
        before, self._store = self._store, str(info["run_id"])
        return before not in ("", self._store)

    def _look_at_browsers(self) -> None:
        alive = live.living()
        trusted = live.leases_count()  # asked after it: a pause may have been in between
        rows = GenerationStage.objects.filter(session__state=SessionState.RUNNING)
        repaired: dict[int, tuple[int, float]] = {}
        unopened: dict[int, tuple[int, float]] = {}
        for row in rows.exclude(browser=""):
            there = alive.get(row.browser)
            if there is None:
                if trusted:
                    self._lost(row, Category.TIMEOUT, f"the worker of {row.browser} is gone")
            elif row.opened_by not in ("", there.worker):
                self._lost(row, Category.BROWSER_CRASH, f"the worker of {row.browser} is a new one")
            elif there.state in live.HELD_BACK:
                self._leave(row, f"{row.browser} is {there.state}")
            elif there.state == BrowserState.RECOVERING:
                repaired[row.pk] = self._in_repair(row)
            elif not row.opened_by and there.idle_since is not None:
                unopened[row.pk] = self._send_again(row)
        self._repaired, self._unopened = repaired, unopened

    def _send_again(self, row: GenerationStage) -> tuple[int, float]:
        """Its epoch, and since when its browser has nothing to do; the message was lost, after a while."""
        now = time.monotonic()
        epoch, since = self._unopened.get(row.pk, (row.epoch, now))
        if epoch != row.epoch:
            return row.epoch, now
        if now - since <= _UNOPENED_S:
            return epoch, since
        log.warning("%s was not told of stage %s, and is told again", row.browser, row)
        recovery.send([row])
        return row.epoch, now

    def _in_repair(self, row: GenerationStage) -> tuple[int, float]:
        """What it has given, and since when no more; left once it owes something for a while."""
        session, now = row.session, time.monotonic()
        numbers = streams.last_numbers(str(session.pk), session.plan.num_shards)
        given = streams.given(numbers, len(session.wanted.prompt))[row.index]
        before, since = self._repaired.get(row.pk, (given, now))
        if before != given or numbers[row.index] <= given:
            return given, now
        if now - since > _REPAIR_S:
            self._leave(row, f"{row.browser} is being repaired")
        return given, since

    def _leave(self, row: GenerationStage, why: str) -> None:
        """Have it go on elsewhere, if it can; else it is looked at again after a moment."""
        now = time.monotonic()
        if now - self._stays.get(row.pk, float("-inf")) < _REST_S:
            return
        self._stays = {pk: at for pk, at in self._stays.items() if now - at < _REST_S}
        if not self._lost(row, None, why):
            self._stays[row.pk] = now

    def _lost(self, row: GenerationStage, category: Category | None, why: str) -> bool:
        return recovery.give(str(row.session_id), row.index, row.epoch, category, why)

    def _look_after(self, session: GenerationSession, now: float) -> bool:
        """Whether it goes on."""
        session_id = str(session.pk)
        if endings.write_down(session):
            self._reached.pop(session_id, None)
            return False
        epochs = streams.epochs(session_id, session.plan.num_shards)
        if epochs is None:
            recovery.rebuild(session, "the store has lost the session")
            return False
        rows = list(session.stages.all())
        if cut := [row for row in rows if row.epoch > epochs[row.index]]:
            recovery.hand_over(cut[0])
            return False
        # Before how far it is: who passes a step on says afterwards how long the next one may take.
        allowed = streams.allowed_s(session_id, session.plan.num_shards)
        numbers = streams.last_numbers(session_id, session.plan.num_shards)
        # Who catches up gives nothing new, and says how far it is.
        where = streams.where(session_id, [(row.index, row.epoch) for row in rows])
        reached = (numbers, where, [(row.epoch, row.opened_by) for row in rows])
        before, since = self._reached.get(session_id, (None, now))
        if reached != before:
            self._reached[session_id] = (reached, now)
        elif (row := _waited_for(session, numbers, rows)) is not None:
            within = _within_s(row, allowed[row.index])
            if now - since > within:
                why = f"{row.browser} gave nothing for {within:.1f} s"
                self._lost(row, Category.TIMEOUT, why)
        return True


def _waited_for(
    session: GenerationSession, numbers: list[int], rows: list[GenerationStage]
) -> GenerationStage | None:
    """The first stage that has input which the next one has nothing of."""
    given = streams.given(numbers, len(session.wanted.prompt))
    return next((row for row in rows if numbers[row.index] > given[row.index]), None)


def _within_s(row: GenerationStage, allowed: float | None) -> float:
    """For how long its browser may give nothing; `allowed`: as that says of itself."""
    there = live.living().get(row.browser)
    if allowed is None or there is None or there.idle_since is None:
        return float(settings.WEBPOOL_SESSION_STEP_S)
    return allowed + _BEYOND_S


def _active() -> list[GenerationSession]:
    rows = GenerationSession.objects.active().select_related("plan", "model")
    return list(rows.defer("model__summary"))


def watch_forever(stop: threading.Event) -> None:
    """The control worker's thread."""
    watcher = Watcher()
    while not stop.is_set():
        try:
            watcher.turn()
        except (redis.exceptions.RedisError, DatabaseError, OSError) as error:
            log.warning("sessions are looked after a moment later: %s", error)
            stop.wait(_REST_S)
        except Exception:
            log.exception("sessions")
            stop.wait(_REST_S)
