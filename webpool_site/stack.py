"""The whole pool as one object: `Stack(…).start()`, `wait_ready()`, `stop()`.

What `manage.py up`, the demo and the Python facade share. It starts the processes of
webpool_site/processes.py under a supervisor and tells the ledger at once when a browser's worker died.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from browsers import clock
from browsers import processes as browser_processes
from browsers.core.failures import Category
from browsers.redis import place
from browsers.supervisor import (
    ChildStatus,
    Listener,
    ProcessSpec,
    Supervisor,
    SupervisorError,
    describe_exit,
    reap_leftovers,
)
from inference.errors import WebpoolError
from inference.store.scratch import remove_abandoned
from webpool_site import ports, valkey
from webpool_site.browser_list import BrowserListError, choose
from webpool_site.instance import AlreadyRunning, Instance
from webpool_site.processes import Layout, browser_of, browser_worker, name_of, specs
from webpool_site.progress import Progress

if TYPE_CHECKING:
    from webpool_site.resizing import Resizer

log = logging.getLogger(__name__)


class StackError(WebpoolError):
    """The pool cannot start; the message says what was expected, what came and what to do."""

    category = Category.UNAVAILABLE


class Stack:
    """A pool of browsers with everything around it, on this machine.

    What is not given comes from the settings. `browsers` is a list as in WEBPOOL_BROWSERS. `out` is
    called with a line for everything that happens. `on_worker_death(browser_id, reason)` is called
    as soon as a browser's worker has died; the default (`worker_died`) gives its work to the other
    browsers. `imports`: as `Layout.imports`. A context manager: starts, waits for everything, and
    stops at the end.
    """

    def __init__(
        self,
        *,
        home: Path | None = None,
        browsers: str | None = None,
        host: str | None = None,
        port: int | None = None,
        web: bool = True,
        redis_url: str | None = None,
        out: Callable[[str], object] | None = None,
        on_worker_death: Callable[[str, str], None] | None = None,
        adaptive: bool | None = None,
        imports: str = Layout.imports,
    ) -> None:
        self._home = (home or settings.WEBPOOL_HOME).resolve()
        self._browsers = settings.WEBPOOL_BROWSERS if browsers is None else browsers
        self._host = host or settings.WEBPOOL_HOST
        self._port = settings.PORT if port is None else port
        self._web = web
        self._redis_url = redis_url or os.environ.get("WEBPOOL_REDIS_URL") or None
        self._adaptive = settings.WEBPOOL_POOL_ADAPTIVE if adaptive is None else adaptive
        self._out = out
        self._imports = imports
        self._resizer: Resizer | None = None
        self._layout: Layout | None = None
        self._instance = Instance(self._home)
        listener = _StackListener(
            on_worker_death or worker_died, Progress(out) if out else Listener()
        )
        self._supervisor = Supervisor(
            log_dir=self.log_dir, run_dir=self._home / "run", listener=listener
        )

    @property
    def log_dir(self) -> Path:
        return self._home / "logs"

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the web server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104
        return f"http://{host}:{self._port}"

    @property
    def layout(self) -> Layout:
        """What runs, chosen at the start."""
        if self._layout is None:
            raise StackError("the pool was not started: call start() first")
        return self._layout

    @property
    def failure(self) -> str | None:
        """Why the pool stopped by itself."""
        return self._supervisor.failure

    def start(self) -> tuple[str, ...]:
        """Start everything and return at once: what an earlier pool left running and was killed.

        Raises `StackError` with nothing started.
        """
        try:
            self._instance.acquire(
                address=self.address if self._web else None,
                history=str(settings.WEBPOOL_HISTORY_PATH.resolve()),
            )
            reaped = self._reap()
            self._layout = self._choose()
            self._check()
            _retire_all_but(self._layout)
            everything = specs(self._layout)
            self._supervisor.start(everything)
            if self._adaptive:
                self._resizer = self._start_resizer(self._layout, everything)
        except (AlreadyRunning, BrowserListError, ports.PortError, valkey.ValkeyError) as error:
            self._instance.release()
            raise StackError(str(error)) from error
        except BaseException:
            self._instance.release()
            raise
        return reaped

    def _start_resizer(self, layout: Layout, everything: Sequence[ProcessSpec]) -> Resizer:
        from webpool_site.resizing import Resizer, limits_from_settings

        after = [spec.name for spec in everything if spec.name == "valkey"]
        resizer = Resizer(
            supervisor=self._supervisor,
            listed=layout.browsers,
            spec_of=lambda slot: browser_worker(layout, slot, after=after),
            start_timeout_s=layout.browser_start_s,
            limits=limits_from_settings(),
            out=self._out or log.info,
        )
        resizer.start()
        return resizer

    def _choose(self) -> Layout:
        return Layout(
            home=self._home,
            host=self._host,
            port=self._port,
            browsers=choose(self._browsers, home=self._home),
            web=self._web,
            redis_url=self._redis_url,
            browser_start_s=settings.WEBPOOL_BROWSER_START_S,
            imports=self._imports,
        )

    def _check(self) -> None:
        if self._web:
            ports.check_free(self._host, self._port)
        if self._redis_url is None:
            valkey.prepare(self._home, maxmemory_mb=settings.WEBPOOL_REDIS_MAXMEMORY_MB)
        elif not valkey.answers(self._redis_url, timeout_s=2.0):
            raise StackError(
                f"no Redis answers at {place(self._redis_url)}: start it, correct "
                "WEBPOOL_REDIS_URL, or unset it to use the embedded server"
            )

    def wait_ready(self, timeout_s: float = 180.0, *, browsers: int | None = None) -> None:
        """Wait for every process, or for all but the browsers and then for `browsers` of them.

        Raises `StackError` when that does not happen in time or something essential failed.
        """
        names = [name_of(slot) for slot in self.layout.browsers]
        core = [child.name for child in self.status() if child.name not in names]
        try:
            self._supervisor.wait_ready(timeout_s, names=core)
            self._supervisor.wait_ready(timeout_s, names=names, at_least=browsers)
        except SupervisorError as error:
            raise StackError(self._explain(error)) from error

    def _explain(self, error: SupervisorError) -> str:
        if self._redis_url is None and "valkey failed" in str(error):
            try:
                valkey.check_append_only_file(self._home)
            except valkey.ValkeyError as damage:
                return str(damage)
        return str(error)

    def wait_stopped(self, timeout_s: float | None = None) -> bool:
        """Wait until the pool has stopped by itself, which only a failure makes it do."""
        return self._supervisor.wait_stopped(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop everything; afterwards no process of the pool is left. Idempotent.

        A stack that did not get the home's lock touches nothing: what runs there is another's.
        """
        if not self._instance.held:
            return
        try:
            if self._resizer is not None:
                self._resizer.end()
            self._supervisor.stop(timeout_s)
            self._reap()
        finally:
            self._instance.release()

    def kill(self) -> None:
        """Make a `stop` that is under way stop waiting for anybody."""
        self._supervisor.kill()

    def status(self) -> tuple[ChildStatus, ...]:
        return self._supervisor.status()

    def _reap(self) -> tuple[str, ...]:
        """End what an earlier life left; nothing of this one runs when it is called."""
        for path in (self._home / "run").glob("*.ready"):
            path.unlink(missing_ok=True)
        left = reap_leftovers(self._home / "run")
        orphans = browser_processes.reap_orphans(self._home)
        remove_abandoned(self._home)
        return (*left, *(f"{one.name} ({one.pid})" for one in orphans))

    def __enter__(self) -> Stack:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _StackListener(Listener):
    """Passes everything on, and the death of a browser's worker first to the ledger."""

    def __init__(self, on_worker_death: Callable[[str, str], None], other: Listener) -> None:
        self._on_worker_death = on_worker_death
        self._other = other

    def on_started(self, spec: ProcessSpec, pid: int) -> None:
        self._other.on_started(spec, pid)

    def on_ready(self, spec: ProcessSpec, seconds: float) -> None:
        self._other.on_ready(spec, seconds)

    def on_exit(self, spec: ProcessSpec, returncode: int, *, expected: bool) -> None:
        browser_id = browser_of(spec)
        if browser_id and not expected:
            try:
                reason = f"the worker of {browser_id} ended with {describe_exit(returncode)}"
                self._on_worker_death(browser_id, reason)
            except Exception:
                # The sweep does the same once the browser's lease has expired.
                log.exception("the work of %s could not be given away at once", browser_id)
        self._other.on_exit(spec, returncode, expected=expected)

    def on_put_down(self, spec: ProcessSpec, why: str) -> None:
        self._other.on_put_down(spec, why)

    def on_gave_up(self, spec: ProcessSpec, message: str) -> None:
        self._other.on_gave_up(spec, message)


def _retire_all_but(layout: Layout) -> None:
    """Browsers of an earlier list are not coming back: nothing waits for them any more."""
    from browsers.models import Browser, BrowserState
    from browsers.state import drains

    drains.forget_the_pools()
    listed = [slot.id for slot in layout.browsers]
    Browser.objects.exclude(pk__in=listed).update(
        state=BrowserState.STOPPED,
        reason="not in WEBPOOL_BROWSERS",
        state_changed_at=clock.now(),
    )


def worker_died(browser_id: str, reason: str) -> None:
    """End the browser's lease and give its work to others, in this process' database."""
    from browsers.state import breakers, live
    from inference.core.generation import control
    from inference.generation import streams
    from inference.ledger import results

    breakers.crashed(browser_id)
    live.withdraw(browser_id)
    streams.tell_control(control.Gone(browser_id))
    results.owner_died(browser_id, reason)
