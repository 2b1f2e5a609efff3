"""The command lines of the stack: what `manage.py up` runs, and in which order."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from browsers import locations
from browsers.queues import CONTROL_QUEUE, HISTORY_QUEUE, queue_of
from browsers.supervisor import ProcessSpec, Restart, can_fork, fork_server_argv
from webpool_site import ports, valkey
from webpool_site.browser_list import BrowserSlot
from webpool_site.children import readiness

CELERY = (sys.executable, "-m", "celery", "-A", "webpool_site")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
# A process whose code or settings are wrong fails at once and every time: five tries tell.
# A pass of the sweep waits for a store that hangs, 30 s a step.
CONTROL_SILENT_S = 120.0
ESSENTIAL = Restart(first_delay_s=0.2, max_delay_s=5.0, give_up_after=5)
FORK_SERVER = "fork-server"


@dataclasses.dataclass(frozen=True)
class Layout:
    """What to run and where. `redis_url` None runs the embedded Valkey."""

    home: Path
    host: str
    port: int
    browsers: tuple[BrowserSlot, ...]
    web: bool = True
    redis_url: str | None = None
    browser_start_s: float = 90.0
    imports: str = "webpool_site.children.preload"
    """What the fork server imports, and so has every process that it becomes."""


def specs(layout: Layout) -> list[ProcessSpec]:
    """Every process, first what the others need; browsers before the periodic ones.

    The cores are the bottleneck of a start, and browsers take longest.
    """
    first = [] if layout.redis_url else [valkey.process_spec(layout.home)]
    after = tuple(spec.name for spec in first)
    first += _fork_server(layout)
    rest = [_control(layout, after=after)]
    rest += [browser_worker(layout, slot, after=after) for slot in layout.browsers]
    if layout.web:
        rest.append(_web(layout, after=after))
    rest.append(worker(layout, HISTORY_QUEUE, after=after, role="history"))
    rest.append(_beat(layout, after=after))
    return first + rest


def environment(layout: Layout) -> dict[str, str]:
    """What every process of the stack finds in its environment."""
    return {
        "DJANGO_SETTINGS_MODULE": "webpool_site.settings",
        "WEBPOOL_HOME": str(layout.home),
        "WEBPOOL_REDIS_URL": layout.redis_url or valkey.url(layout.home),
        "WEBPOOL_HOST": layout.host,
        "PORT": str(layout.port),
        "PYTHONUNBUFFERED": "1",
        # Celery would run Django's checks in every worker, which imports all views and costs seconds.
        "CELERY_SKIP_CHECKS": "1",
    }


def _fork_server(layout: Layout) -> list[ProcessSpec]:
    """It imports once what the pool's own processes need; none where no process can be forked for another."""
    if not can_fork():
        return []
    spec = ProcessSpec(
        name=FORK_SERVER,
        argv=fork_server_argv(layout.imports),
        # Its threads would be lost to the forked, and the cores are the browsers'.
        env={**environment(layout), "OPENBLAS_NUM_THREADS": "1"},
        cwd=locations.ROOT,
        restart=ESSENTIAL,
        critical=True,
        fork_server=True,
    )
    return [spec]


def _forked_by() -> str | None:
    return FORK_SERVER if can_fork() else None


def worker(layout: Layout, queue: str, *, after: Sequence[str], role: str) -> ProcessSpec:
    """A Celery worker with one consumer, in the process itself (solo pool); it is named after its queue."""
    ready = _ready_file(layout, queue)
    return ProcessSpec(
        name=queue,
        argv=(*CELERY, "worker", "-Q", queue, "-n", f"{queue}@%h", *_SOLO, *QUIET),
        env={**environment(layout), "WEBPOOL_ROLE": role, readiness.VARIABLE: str(ready)},
        cwd=locations.ROOT,
        ready=functools.partial(readiness.is_ready, ready),
        after=tuple(after),
        restart=ESSENTIAL,
        critical=True,
        forked_by=_forked_by(),
    )


def _control(layout: Layout, *, after: Sequence[str]) -> ProcessSpec:
    """The control worker; its sweep shows that it gets on."""
    spec = worker(layout, CONTROL_QUEUE, after=after, role="control")
    silent_s = functools.partial(readiness.silent_s, _ready_file(layout, CONTROL_QUEUE))
    return dataclasses.replace(spec, silent_s=silent_s, silent_timeout_s=CONTROL_SILENT_S)


_INCLUDED = "webpool_site.children.readiness,webpool_site.children.waiting"
_SOLO = ("--pool", "solo", "--concurrency", "1", "--include", _INCLUDED)


def browser_worker(layout: Layout, slot: BrowserSlot, *, after: Sequence[str]) -> ProcessSpec:
    """The worker that owns one browser. Its failures never stop the pool: it is tried for ever."""
    spec = worker(layout, name_of(slot), after=after, role="browser")
    return dataclasses.replace(
        spec,
        env={**spec.env, "WEBPOOL_BROWSER": slot.id, "WEBPOOL_BROWSER_KIND": slot.kind},
        restart=Restart(first_delay_s=0.05, max_delay_s=10.0),
        critical=False,
        # The browser's own start has its own deadline inside the worker; this one is behind it.
        start_timeout_s=layout.browser_start_s + 60.0,
    )


def name_of(slot: BrowserSlot) -> str:
    """The process that owns the slot's browser: as every worker, it bears its queue's name."""
    return queue_of(slot.id)


def browser_of(spec: ProcessSpec) -> str | None:
    """The id of the browser that a process owns."""
    return spec.env.get("WEBPOOL_BROWSER")


def _web(layout: Layout, *, after: Sequence[str]) -> ProcessSpec:
    return ProcessSpec(
        name="web",
        argv=(sys.executable, "-m", "webpool_site.web", layout.host.strip("[]"), str(layout.port)),
        env={**environment(layout), "WEBPOOL_ROLE": "web"},
        cwd=locations.ROOT,
        ready=lambda pid: ports.accepts(layout.host, layout.port),
        after=tuple(after),
        restart=ESSENTIAL,
        critical=True,
        forked_by=_forked_by(),
    )


def _beat(layout: Layout, *, after: Sequence[str]) -> ProcessSpec:
    return ProcessSpec(
        name="beat",
        argv=(*CELERY, "beat", "--pidfile", "", "--loglevel", "INFO"),
        env={**environment(layout), "WEBPOOL_ROLE": "beat"},
        cwd=locations.ROOT,
        after=tuple(after),
        restart=ESSENTIAL,
        critical=True,
        forked_by=_forked_by(),
    )


def _ready_file(layout: Layout, name: str) -> Path:
    return layout.home / "run" / f"{name}.ready"
