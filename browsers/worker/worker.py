"""One browser's life inside one worker process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from django.conf import settings

from browsers import clock, locations
from browsers.core.answers.known import Checks, Known
from browsers.core.answers.proofs import Excluded
from browsers.core.errors import BrowserError, Judged
from browsers.core.failures import Category, Rung
from browsers.core.protocol import WireTensor
from browsers.drivers import LaunchOptions, get_driver
from browsers.models import BrowserState, Incident
from browsers.session import BrowserFacts, BrowserSession, LoadEvent, RunReport, SessionEvent
from browsers.state import breakers
from browsers.worker import quarantine
from browsers.worker.checkup import ANSWERS_WITHIN_S, Checkup, Finding
from browsers.worker.holding import Holding
from browsers.worker.ladder import Ladder
from browsers.worker.memory import Memory
from browsers.worker.pace import Pace
from browsers.worker.proof_book import ProofBook
from browsers.worker.relief import Reliever
from browsers.worker.status import Status
from browsers.worker.watch import Watch

log = logging.getLogger(__name__)
# What the session may take beyond a deadline, to replace an engine and to explain a failure. Whoever takes
# longer is stuck.
_BEYOND_DEADLINE_S = 45.0


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What the rest of webpool gives the worker, wired in webpool_site/wiring.py.

    Attributes:
        restarted: the browser's earlier computations are gone; called before it takes work.
        ready: the browser takes work; shards may be waiting for it.
        hand_over: no repair helped; others are to load these files. Returns how many files others have now.
        broken: the browser is about to be repaired; what waits for it better goes elsewhere.
        known: what is known of a file.
        loaded: a model file was loaded, or could not be; called by the main thread.
    """

    restarted: Callable[[str], None]
    ready: Callable[[str], None]
    broken: Callable[[str], None]
    hand_over: Callable[[str, Collection[str]], int]
    known: Callable[[str], Known]
    loaded: Callable[[BrowserWorker, LoadEvent], None] = lambda worker, event: None


class BrowserWorker:
    """Starts the browser, computes in it, repairs it and ends it; all in the main thread."""

    def __init__(self, browser_id: str, kind: str, hooks: Hooks) -> None:
        self.id, self.kind, self._hooks = browser_id, kind, hooks
        driver = get_driver(kind)
        limit_mb = settings.WEBPOOL_MEMORY_LIMIT_MB[driver.family]
        self.session = BrowserSession(
            browser_id=browser_id,
            driver=driver,
            launch=LaunchOptions(
                profile_dir=settings.WEBPOOL_HOME / "profiles" / browser_id,
                log_path=settings.WEBPOOL_HOME / "logs" / f"{browser_id}.driver.log",
                start_timeout_s=settings.WEBPOOL_BROWSER_START_S,
                remote_url=(settings.WEBPOOL_REMOTE_URL or None) if kind == "remote" else None,
            ),
            files=model_file,
            runtime_dir=locations.npm_root(settings.WEBPOOL_HOME)
            / "node_modules"
            / "onnxruntime-web"
            / "dist",
            threads=settings.WEBPOOL_THREADS,
            memory_limit_mb=limit_mb,
            on_event=self._on_event,
            on_load=self._on_load,
            proofs=(ProofBook(kind, self._now), hooks.known),
            backends=settings.WEBPOOL_BACKENDS,
        )
        self.pace = Pace()
        self.memory = Memory(self.session, limit_mb)
        self._checks = Checks()
        self.status = Status(
            browser_id, kind, driver.family, self.session,
            self.pace, self.memory, self._checks, limit_mb=limit_mb,
        )  # fmt: skip
        self._watch = Watch(browser_id, self.status)
        self._excused: SessionEvent | None = None  # what a caller's inputs broke
        self._checkup = Checkup(browser_id, self.session, self._checks, hooks.known)
        self._ladder = Ladder(browser_id, self.session, self.status, self._forget, self._bounded)
        self.holding = Holding(browser_id, self.session, self.status, self._watch, self._bounded)
        self._reliever = Reliever(
            browser_id, self.session, self.memory, self._bounded, away=self._away, back=self._back
        )

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the browser, check it with known answers, and take work.

        Raises:
            BrowserError: it could not be started; the row says why.
        """
        self.status.save(BrowserState.STARTING, "")
        try:
            facts = self.session.start(settings.WEBPOOL_BROWSER_START_S)
        except Exception as error:
            self.status.save(BrowserState.FAILED, str(error))
            quarantine.start_failed(self.id, error)
            self.session.close(5.0)
            raise
        self.status.save_facts(facts)
        quarantine.started(self.id)
        self._hooks.restarted(self.id)
        self.status.breakers = breakers.repaired(self.id)
        self._become_ready()
        self._watch.start(self.session)
        self.memory.start()

    def close(self) -> None:
        """Withdraw the lease and end the browser; nothing of it is left."""
        self._watch.stop()
        self.memory.stop()
        self.status.withdraw()
        self.session.close(5.0)
        self.status.save(BrowserState.STOPPED, "")

    def _become_ready(self) -> None:
        self._watch.broken = None
        self.status.save(BrowserState.READY, "")
        self.status.publish()
        self._hooks.ready(self.id)
        self._watch.catch_up(self.session)

    def _on_event(self, event: SessionEvent) -> None:
        self._watch.heard(event)

    def _on_load(self, event: LoadEvent) -> None:
        try:
            self._hooks.loaded(self, event)
        except Exception:  # a load that history does not hear of is still a load
            log.exception("%s: the load of %s was not recorded", self.id, event.model_sha256)

    # --- work --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Around a task: what it claimed is done with, one way or the other, when this ends."""
        self.status.idle_since = None
        try:
            yield
        finally:
            self.status.idle_since = clock.now().timestamp()

    @contextlib.contextmanager
    def _bounded(self, seconds: float) -> Iterator[None]:
        """The main thread is in the browser's hands for at most so long; see watch.py."""
        self._watch.stuck_after = time.monotonic() + seconds
        try:
            yield
        finally:
            self._watch.stuck_after = float("inf")

    def run(
        self,
        sha256: str,
        inputs: list[WireTensor],
        *,
        backend: str,
        prefer: str = "",
        strict: bool,
        dims: dict[str, int],
        rows: int | None,
        deadline_s: float,
        meanwhile: Callable[[], object] | None = None,
        judge: Callable[[BrowserError], Judged] | None = None,
    ) -> RunReport:
        """Compute in the browser; called by tasks in the main thread. `rows`: the batch, if any.

        `meanwhile` is called while the page computes; it must not raise. `judge` is asked about a
        failure before the browser is blamed: what it counts as, and whether any browser could have done it.

        Raises:
            BrowserError: with its category, noted by the breakers. When the browser itself is in doubt,
            its published state is `recovering` before this returns, so that nothing more is placed on it.
        """
        probe = self._begin_probe(sha256)
        try:
            with self._bounded(deadline_s + _BEYOND_DEADLINE_S):
                report = self.session.run(
                    model_sha256=sha256,
                    inputs=inputs,
                    backend=backend or None,
                    prefer=prefer,
                    strict=strict,
                    dims=dims,
                    deadline_s=deadline_s,
                    meanwhile=meanwhile,
                )
        except Excluded:
            raise  # the backend's fault, who may compute the file on another one
        except BrowserError as error:
            if error.category.distrusted:
                self.status.save(BrowserState.RECOVERING, str(error))
                self.status.publish()
            if judge is not None:
                error.judged = judge(error)
            if error.judged.everywhere:
                self._excused = self._watch.broken  # such as the engine, which stopped half way
            elif error.judged.category is Category.REFUSED:
                self._watch.doubt()
            self.status.breakers = breakers.failed(self.id, error.judged.category, sha256=sha256)
            raise
        self.pace.note(sha256, report, rows)
        if not self.status.breakers.spotless(sha256):
            self.status.breakers = breakers.succeeded(self.id, sha256=sha256, probe=probe)
        return report

    def _begin_probe(self, sha256: str) -> str:
        """The name of the probe that this computation is; "" for work like any other."""
        if not self.status.breakers.probing(sha256, clock.unix()):
            return ""
        owner = f"run {sha256[:12]}"
        return owner if breakers.begin_probe(self.id, owner=owner, sha256=sha256) else ""

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

    @property
    def facts(self) -> BrowserFacts:
        assert self.status.facts is not None, "the browser has not started"
        return self.status.facts

    def _now(self) -> BrowserFacts:
        """What the browser is now, as after a restart that brought another version."""
        return self.session.facts or self.facts

    @property
    def memory_mb(self) -> float | None:
        """PSS of the browser's process tree at the last look (every few seconds), in MB."""
        return self.memory.tree_mb

    # --- repair -------------------------------------------------------------------------------------

    def repair(self, category: Category, message: str, first: Rung | None) -> bool:
        """Climb from the first rung that can help until the known answers are right again.

        Returns False when no rung helped; the worker should end, and its supervisor starts another.
        """
        if self.status.state != BrowserState.READY:
            self.status.publish()
        try:
            self._hooks.broken(self.id)
        except Exception:  # what waits for this browser then waits for its repair
            log.exception("%s: the work that waits could not be given away", self.id)
        if self._ladder.climb(category, message, Rung.RECONNECT if self._watch.hung else first):
            self._become_ready()
            return True
        self.status.save(BrowserState.FAILED, f"no repair helped: {message}")
        self._hand_over(category, message)
        return False

    def _hand_over(self, category: Category, message: str) -> None:
        """What the browser held is loaded by others; its worker ends, the next one begins with nothing."""
        began, taken = time.monotonic(), 0
        try:
            taken = self._hooks.hand_over(self.id, self.status.held)
        except Exception:  # they load it when it is needed
            log.exception("%s: what it held was not handed over", self.id)
        Incident.objects.create(
            browser_id=self.id,
            category=category,
            message=f"{taken} of {len(self.status.held)} files handed over: {message}"[:2000],
            rung=Rung.HAND_OVER.value,
            repaired=taken == len(self.status.held),
            duration_ms=(time.monotonic() - began) * 1000,
        )

    def repair_if_broken(self) -> bool:
        """Repair what an event told; False when no rung helped."""
        if self.status.state != BrowserState.RECOVERING:
            return True
        event = self._watch.broken
        if event is None:
            return self.repair(Category.INTERNAL, "left without a repair", None)
        if event is not self._excused:
            self.status.breakers = breakers.failed(self.id, self._really(event.category))
        return self.repair(event.category, f"{event.name}: {event.message}", event.first_rung)

    def _really(self, category: Category) -> Category:
        """A lost connection of a browser that is gone is its crash."""
        gone = category is Category.CONNECTION and not self.session.alive()
        return Category.BROWSER_CRASH if gone else category

    def _forget(self) -> None:
        """Another page or browser: what was seen of the old one says little of it."""
        self.pace.forget()
        self._checks.forget()

    # --- checkups -----------------------------------------------------------------------------------

    def probe(self) -> bool:
        """Answer the known-answer model for a breaker that is half-open; False: no repair helped."""
        owner = "known answers"
        if self.status.state != BrowserState.READY or not breakers.begin_probe(
            self.id, owner=owner
        ):
            return True
        if found := self._examine(self._checkup.probe):
            return self._unwell(found)
        self.status.breakers = breakers.succeeded(self.id, probe=owner)
        return True

    def check(self) -> bool:
        """Have the browser and one of its files answer; False: it is unwell, and no repair helped.

        Models that were lost with their engine, and backends that wait to be tried, come first.
        """
        if self.status.state != BrowserState.READY:
            return True
        due = self.session.idle.due and not self.memory.shortage
        found = self._examine(self._checkup.do_next if due else self._checkup.check)
        self.status.note_backends()
        return found is None or self._unwell(found)

    def _examine(self, ask: Callable[[], Finding | None]) -> Finding | None:
        with self._bounded(2 * ANSWERS_WITHIN_S + _BEYOND_DEADLINE_S):
            return ask()

    def _unwell(self, found: Finding) -> bool:
        """Repair what was found while nobody waited for an answer; False when no rung helped."""
        error = found.error
        self.status.breakers = breakers.failed(self.id, error.category, sha256=found.sha256)
        self.status.save(BrowserState.RECOVERING, str(error))
        return self.repair(error.category, str(error), error.first_rung)

    # --- memory ---------------------------------------------------------------------------------------

    def relieve(self) -> bool:
        """Give memory back between two tasks; False: the browser broke, and no repair helped."""
        if self.status.state != BrowserState.READY:
            return True  # it is being repaired, and then holds nothing
        try:
            self._reliever.relieve()
        except BrowserError as error:
            return self._unwell(Finding(error))
        return True

    def _away(self, why: str) -> None:
        """The page is about to go: what waits for it better goes elsewhere."""
        self.status.save(BrowserState.RECOVERING, why)
        self.status.publish()
        self._hooks.broken(self.id)

    def _back(self) -> None:
        self.pace.forget()
        self._become_ready()


def model_file(sha256: str) -> Path:
    """The immutable file of a model or shard.

    Raises:
        KeyError: it is not on this machine.
    """
    path: Path = settings.WEBPOOL_HOME / "files" / sha256
    if not path.is_file():
        raise KeyError(sha256)
    return path
