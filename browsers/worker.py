"""Ties one Celery worker process to the one browser it owns.

The worker's main thread owns the session: tasks run in it (solo pool), and so do repairs. A keeper thread
renews the lease and publishes live state; a second one feels the page's pulse, for a page that hangs closes
no socket; the bridge's thread reports events. None of them touches Selenium.
A lease that is kept says that the main thread gets on: the keeper ends a process whose main thread is
stuck in the browser for longer than its own deadlines allow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import redis.exceptions
from celery.exceptions import WorkerShutdown
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from browsers import live
from browsers.core.averages import MovingAverages
from browsers.core.errors import BrowserError, Category, DeadlinePassed, Rung
from browsers.core.protocol import WireTensor
from browsers.core.repair import rungs_from
from browsers.drivers import LaunchOptions, get_driver
from browsers.models import Browser, BrowserState, Incident
from browsers.session import BrowserFacts, BrowserSession, RunReport, SessionEvent

log = logging.getLogger(__name__)
_MEMORY_EVERY_S = 5.0
# What the session may take beyond a deadline, to replace an engine and to explain a failure; and how
# long one rung of a repair may take with its probe. Whoever takes longer is stuck.
_BEYOND_DEADLINE_S = 45.0
_RUNG_S = 180.0
_REPAIR_AGAIN_S = 2.0
# A page answers in milliseconds, whatever its engine computes; on a starved machine it takes longer.
_PULSE_EVERY_S = 2.0
_PULSE_WITHIN_S = 10.0
# After these the browser is not trusted until a repair has passed the known-answer probe.
UNHEALTHY = frozenset(
    {Category.BROWSER_CRASH, Category.CONNECTION, Category.DEVICE_LOST, Category.TIMEOUT}
)


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What the rest of webpool gives the worker, wired in webpool_site/wiring.py.

    Attributes:
        restarted: the browser's earlier computations are gone; called before it takes work.
        ready: the browser takes work; shards may be waiting for it.
        request_repair: send this worker's main thread a repair task.
    """

    restarted: Callable[[str], None]
    ready: Callable[[str], None]
    request_repair: Callable[[str], None]


class BrowserWorker:
    """One browser's life inside one worker process."""

    def __init__(self, browser_id: str, kind: str, hooks: Hooks) -> None:
        self.id, self.kind, self._hooks = browser_id, kind, hooks
        self._instance = uuid.uuid4().hex
        self._driver = get_driver(kind)
        self._limit_mb = settings.WEBPOOL_MEMORY_LIMIT_MB[self._driver.family]
        self._state = BrowserState.STARTING
        self._facts: BrowserFacts | None = None
        # By file and backend, until the browser is another one.
        self._compute_ms: MovingAverages[tuple[str, str]] = MovingAverages()
        self._row_ms: MovingAverages[tuple[str, str]] = MovingAverages()
        self._memory_mb: float | None = None
        self._idle_since: float | None = time.time()
        self._stuck_after = float("inf")
        self._hung = False
        self._event: SessionEvent | None = None  # what broke, until it is repaired
        self._stop = threading.Event()
        self._publish_lock = threading.Lock()
        self.session = BrowserSession(
            browser_id=browser_id,
            driver=self._driver,
            launch=LaunchOptions(
                profile_dir=settings.WEBPOOL_HOME / "profiles" / browser_id,
                log_path=settings.WEBPOOL_HOME / "logs" / f"{browser_id}.driver.log",
                start_timeout_s=settings.WEBPOOL_BROWSER_START_S,
                remote_url=(settings.WEBPOOL_REMOTE_URL or None) if kind == "remote" else None,
            ),
            files=model_file,
            runtime_dir=settings.BASE_DIR / "node_modules" / "onnxruntime-web" / "dist",
            threads=settings.WEBPOOL_THREADS,
            memory_limit_mb=self._limit_mb,
            on_event=self._on_event,
        )

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the browser, check it with known answers, and take work.

        Raises:
            BrowserError: it could not be started; the row says why.
        """
        self._save_state(BrowserState.STARTING, "")
        try:
            self._facts = self.session.start(settings.WEBPOOL_BROWSER_START_S)
        except Exception as error:
            self._save_state(BrowserState.FAILED, str(error))
            self.session.close(5.0)
            raise
        self._save_facts(self._facts)
        self._hooks.restarted(self.id)
        self._become_ready()
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()
        threading.Thread(target=self._feel_pulse, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Withdraw the lease and end the browser; nothing of it is left."""
        self._stop.set()
        with self._publish_lock, contextlib.suppress(redis.exceptions.RedisError):
            live.withdraw(self.id)  # else it expires
        self.session.close(5.0)
        self._save_state(BrowserState.STOPPED, "")

    def _become_ready(self) -> None:
        self._hung = False
        self._event = None
        self._save_state(BrowserState.READY, "")
        self._publish()
        self._hooks.ready(self.id)

    # --- work --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Around a task: what it claimed is done with, one way or the other, when this ends."""
        self._idle_since = None
        try:
            yield
        finally:
            self._idle_since = time.time()

    @contextlib.contextmanager
    def _bounded(self, seconds: float) -> Iterator[None]:
        """The main thread is in the browser's hands for at most so long; see `_keep`."""
        self._stuck_after = time.monotonic() + seconds
        try:
            yield
        finally:
            self._stuck_after = float("inf")

    def run(
        self,
        sha256: str,
        inputs: list[WireTensor],
        *,
        backend: str,
        strict: bool,
        dims: dict[str, int],
        rows: int | None,
        deadline_s: float,
        meanwhile: Callable[[], object] | None = None,
    ) -> RunReport:
        """Compute in the browser; called by tasks in the main thread. `rows`: the batch, if any.

        `meanwhile` is called while the page computes; it must not raise.

        Raises:
            BrowserError: with its category. When the browser itself is in doubt, its published state
            is `recovering` before this returns, so that nothing more is placed on it.
        """
        try:
            with self._bounded(deadline_s + _BEYOND_DEADLINE_S):
                report = self.session.run(
                    model_sha256=sha256,
                    inputs=inputs,
                    backend=backend or None,
                    strict=strict,
                    dims=dims,
                    deadline_s=deadline_s,
                    meanwhile=meanwhile,
                )
        except BrowserError as error:
            if error.category in UNHEALTHY:
                self._save_state(BrowserState.RECOVERING, str(error))
                self._publish()
            raise
        self._note_speed(sha256, report, rows)
        return report

    def load(self, sha256: str, backend: str) -> float | None:
        """Make a file resident; returns the load time in ms, None when it already was.

        Raises:
            BrowserError: it does not fit, or the backend cannot run it.
        """
        deadline_s = settings.WEBPOOL_ATTEMPT_TIMEOUT_S
        with self._bounded(deadline_s + _BEYOND_DEADLINE_S):
            report = self.session.load(
                sha256, backend=backend or None, dims={}, deadline_s=deadline_s
            )
        return report.load_ms

    def _note_speed(self, sha256: str, report: RunReport, rows: int | None) -> None:
        if not report.warm:
            return
        key = (sha256, report.backend)
        self._compute_ms.note(key, report.compute_ms)
        if rows:
            self._row_ms.note(key, report.compute_ms / rows)

    @property
    def facts(self) -> BrowserFacts:
        assert self._facts is not None, "the browser has not started"
        return self._facts

    @property
    def memory_mb(self) -> float | None:
        """PSS of the browser's process tree at the last look (every few seconds), in MB."""
        return self._memory_mb

    # --- repair -------------------------------------------------------------------------------------

    def repair(self, category: str, message: str, first: Rung | None) -> bool:
        """Climb from the first rung that can help until the known answers are right again.

        Returns False when no rung helped; the worker should end, and its supervisor starts another.
        """
        if self._state != BrowserState.READY:
            self._publish()
        for rung in rungs_from(Rung.RESTART if self._hung else first):
            began = time.monotonic()
            repaired = self._try(rung)
            Incident.objects.create(
                browser_id=self.id,
                category=category,
                message=message[:2000],
                rung=rung.value,
                repaired=repaired,
                duration_ms=(time.monotonic() - began) * 1000,
            )
            if repaired:
                Browser.objects.filter(pk=self.id).update(repairs=F("repairs") + 1)
                self._become_ready()
                return True
        self._save_state(BrowserState.FAILED, f"no repair helped: {message}")
        return False

    def _try(self, rung: Rung) -> bool:
        acts: dict[Rung, Callable[[], object]] = {
            Rung.PING: lambda: self.session.ping(2.0),
            Rung.RESTART_ENGINE: self.session.restart_engine,
            Rung.RECONNECT: lambda: self.session.reconnect(2.0),
            Rung.REFRESH: self.session.refresh,
            Rung.RESTART: self.session.restart,
        }
        try:
            with self._bounded(_RUNG_S):
                acts[rung]()
                self._facts = self.session.probe()
        except BrowserError as error:
            log.warning("%s: %s did not help: %s", self.id, rung, error)
            return False
        except Exception:
            log.exception("%s: %s did not help", self.id, rung)
            return False
        self._compute_ms.clear()
        self._row_ms.clear()
        return True

    def repair_if_broken(self) -> bool:
        """Repair what an event told; False when no rung helped."""
        if self._state != BrowserState.RECOVERING:
            return True
        event = self._event
        if event is None:
            return self.repair(Category.INTERNAL, "left without a repair", None)
        return self.repair(event.category, f"{event.name}: {event.message}", event.first_rung)

    # --- threads -------------------------------------------------------------------------------------

    def _on_event(self, event: SessionEvent) -> None:
        """Called by the bridge's thread: a page, engine or device went away."""
        if self._stop.is_set() or self._state != BrowserState.READY:
            return
        log.warning("%s: %s", self.id, event)
        self._event = event
        self._state = BrowserState.RECOVERING
        try:
            self._publish()
            self._hooks.request_repair(self.id)
        except Exception:
            log.exception("%s: no repair could be asked for; the keeper asks again", self.id)

    def _keep(self) -> None:
        next_memory = next_request = 0.0
        while not self._stop.wait(settings.WEBPOOL_HEARTBEAT_S):
            now = time.monotonic()
            if now > self._stuck_after:
                log.critical("%s: the main thread is stuck in the browser; starting anew", self.id)
                os._exit(os.EX_SOFTWARE)
            try:
                self._publish()
                if now >= next_request and self._is_left_broken():
                    next_request = now + _REPAIR_AGAIN_S
                    self._hooks.request_repair(self.id)
                if now >= next_memory:
                    next_memory = now + _MEMORY_EVERY_S
                    self._memory_mb = self.session.tree_pss_mb()
            except redis.exceptions.RedisError as error:
                log.warning("%s: live state could not be published: %s", self.id, error)
            except Exception:
                log.exception("%s: keeper", self.id)

    def _feel_pulse(self) -> None:
        while not self._stop.wait(_PULSE_EVERY_S):
            if self._state != BrowserState.READY:
                continue
            try:
                self.session.ping(_PULSE_WITHIN_S)
            except DeadlinePassed:
                if self._state == BrowserState.READY:
                    log.warning("%s: no pulse for %g s", self.id, _PULSE_WITHIN_S)
                    why = f"no pulse for {_PULSE_WITHIN_S:g} s"
                    self._hung = True  # a driver waits long for such a page: no gentle repair
                    self._on_event(SessionEvent("hung", Category.TIMEOUT, why, Rung.RESTART))
                    self.session.cut()  # whoever waits for an answer waits no longer
            except BrowserError:
                pass  # the event of a lost connection, and the main thread, tell more
            except Exception:
                log.exception("%s: pulse", self.id)

    def _is_left_broken(self) -> bool:
        """The browser needs a repair that the main thread, idle for a while, knows nothing of."""
        idle_since = self._idle_since
        waiting = idle_since is not None and time.time() - idle_since > _REPAIR_AGAIN_S
        return waiting and self._state == BrowserState.RECOVERING

    def _publish(self) -> None:
        with self._publish_lock:
            if not self._stop.is_set():
                live.publish(self._live())

    def _live(self) -> live.LiveBrowser:
        facts = self.session.facts
        backends = facts.backends if facts else ()
        # A file that is on two backends is listed with the one that was used last.
        loaded = sorted(self.session.loaded(), key=lambda model: model.last_used)
        return live.LiveBrowser(
            id=self.id,
            kind=self.kind,
            family=self._driver.family,
            version=self._facts.version if self._facts else "",
            zone=settings.WEBPOOL_ZONE,
            state=self._state,
            worker=self._instance,
            heartbeat=time.time(),
            backends=tuple(
                live.LiveBackend(b.name, b.software, b.probe_ms) for b in backends if b.offered
            ),
            loaded={
                m.sha256: live.LiveModel(
                    m.backend,
                    m.bytes,
                    self._compute_ms.get((m.sha256, m.backend)),
                    self._row_ms.get((m.sha256, m.backend)),
                )
                for m in loaded
            },
            memory_mb=self._memory_mb,
            memory_limit_mb=self._limit_mb,
            resident_bytes=sum(m.bytes for m in loaded),
            idle_since=self._idle_since,
            host=socket.gethostname(),
            cores=os.cpu_count(),
            threads=settings.WEBPOOL_THREADS,
        )

    # --- the row ----------------------------------------------------------------------------------------

    def _save_state(self, state: BrowserState, reason: str) -> None:
        self._state = state
        Browser.objects.update_or_create(
            pk=self.id,
            defaults={
                "kind": self.kind,
                "family": self._driver.family,
                "state": state,
                "reason": reason,
                "worker_pid": os.getpid(),
                "state_changed_at": timezone.now(),
            },
        )

    def _save_facts(self, facts: BrowserFacts) -> None:
        Browser.objects.filter(pk=self.id).update(
            version=facts.version,
            driver_version=facts.driver_version or "",
            user_agent=facts.user_agent,
            host=socket.gethostname(),
            zone=settings.WEBPOOL_ZONE,
            cores=os.cpu_count(),
            system_memory_mb=psutil.virtual_memory().total / 2**20,
            memory_limit_mb=self._limit_mb,
            gpu=facts.gpu,
            backends=[dataclasses.asdict(backend) for backend in facts.backends],
            starts=F("starts") + 1,
        )


def model_file(sha256: str) -> Path:
    """The immutable file of a model or shard.

    Raises:
        KeyError: it is not on this machine.
    """
    path: Path = settings.WEBPOOL_HOME / "files" / sha256
    if not path.is_file():
        raise KeyError(sha256)
    return path


def end_process(why: str) -> NoReturn:
    """End this worker in good order from inside a task; its supervisor starts another.

    Celery takes a plain SystemExit for a task that failed.
    """
    log.critical("%s: this worker ends", why)
    raise WorkerShutdown(os.EX_SOFTWARE)


_owned: BrowserWorker | None = None


def own(browser_id: str, kind: str, hooks: Hooks) -> BrowserWorker:
    """Make this process the owner of the browser and start it."""
    global _owned
    _owned = BrowserWorker(browser_id, kind, hooks)
    _owned.start()
    return _owned


def owned() -> BrowserWorker:
    """The browser this process owns.

    Raises:
        RuntimeError: this is not a browser worker.
    """
    if _owned is None:
        raise RuntimeError("this process owns no browser: start it with WEBPOOL_BROWSER set")
    return _owned
