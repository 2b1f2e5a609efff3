"""A machine that runs out of memory: what its browsers give back, and what requests notice of it.

A process outside webpool takes so much memory that the machine is above WEBPOOL_MACHINE_MEMORY, and holds it
while callers ask on. The validator's own pool is given a limit that little memory is enough to pass.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.utils import timezone

from browsers.core.failures import Category
from browsers.lifeline import dies_with_parent
from browsers.models import Incident
from webpool_site.lab.faults.campaign import HEAL_WITHIN_S, OWNER
from webpool_site.lab.faults.flapping import asked, took
from webpool_site.lab.faults.health import wait_whole
from webpool_site.lab.faults.report import percentile
from webpool_site.lab.faults.trial import ask
from webpool_site.lab.faults.work import Question

NAME = "memory_pressure"
_FOR_S = 30.0
_POOL_TAKES = 5 * 2**30  # at most, of the validator's own pool
_BEYOND = 0.02  # of the machine's memory above the limit
_LEFT_ALONE = 2 * 2**30
_BALLAST = (
    "import sys; held = bytearray(int(sys.argv[1])); held[::4096] = b'x' * len(held[::4096]); "
    "print('held', flush=True); sys.stdin.read()"
)


def lower_the_limit(environ: MutableMapping[str, str]) -> None:
    """Before a pool of one's own starts: a little above what the machine takes then."""
    memory = psutil.virtual_memory()
    limit = min(0.9, (memory.total - memory.available + _POOL_TAKES) / memory.total)
    environ["WEBPOOL_MACHINE_MEMORY"] = f"{limit:.3f}"
    settings.WEBPOOL_MACHINE_MEMORY = limit


def press(
    *, home: Path, browsers: Sequence[str], question: Question, say: Callable[[str], object]
) -> dict[str, Any]:
    """Measure requests before and under pressure; the pool is whole before and after.

    Raises:
        NotHealed: it did not become whole again.
    """
    memory = psutil.virtual_memory()
    limit = settings.WEBPOOL_MACHINE_MEMORY
    wanted = int((limit + _BEYOND) * memory.total) - (memory.total - memory.available)
    if wanted > memory.available - _LEFT_ALONE:
        return {
            "not_applicable": f"{wanted / 2**30:.1f} GB would have to be taken to pass {limit:.0%}, "
            f"{memory.available / 2**30:.1f} GB are free"
        }
    for name in browsers:
        ask(question, strategy="none", platform="wasm", browsers=(name,), owner=OWNER)
    calm = asked(question, _FOR_S / 2, ())
    began = timezone.now()
    with _held(wanted):
        pressed = asked(question, _FOR_S, ())
    wait_whole(home, browsers, timeout_s=HEAL_WITHIN_S)
    reliefs = list(Incident.objects.filter(category=Category.MEMORY_PRESSURE, at__gte=began))
    given_back = [one.reclaimed_mb for one in reliefs if one.reclaimed_mb is not None]
    figures = {
        "not_applicable": None,
        "taken_mb": round(wanted / 2**20),
        "asked": len(calm) + len(pressed),
        "right": len(took(calm)) + len(took(pressed)),
        "calm_p95_ms": percentile(took(calm), 95),
        "pressed_p95_ms": percentile(took(pressed), 95),
        "reliefs": dict(Counter(one.rung for one in reliefs)),
        "given_back_mb": round(sum(given_back), 1) if given_back else None,
    }
    say(f"  {NAME}: {figures}")
    return figures


@contextlib.contextmanager
def _held(count: int) -> Iterator[None]:
    """A process that holds so many bytes."""
    ballast = subprocess.Popen(
        [*dies_with_parent(), sys.executable, "-c", _BALLAST, str(max(count, 1))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert ballast.stdout is not None
        ballast.stdout.readline()
        yield
    finally:
        ballast.kill()
        ballast.communicate()
