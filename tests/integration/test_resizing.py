"""The size of a pool, carried out: real supervisor, database and Valkey; processes that only hold a lease.

With real browsers: tests/integration/test_adaptive.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from browsers.core.sizing import Limits
from browsers.models import Browser, PoolEvent
from browsers.state.live import living
from browsers.supervisor import ProcessSpec, Supervisor
from inference.ledger import claims, draining
from inference.models import Run, StepState
from tests.support.ledger import make_run
from webpool_site.browser_list import BrowserSlot
from webpool_site.resizing import Resizer

pytestmark = pytest.mark.usefixtures("clean")
ROOT = Path(__file__).parents[2]
LEASE_HOLDER = """
import sys, time, django
django.setup()
from tests.support.ledger import publish
while True:
    publish(sys.argv[1], kind="chromium", family="chrome", idle_since=time.time())
    time.sleep(0.3)
"""


def spec(slot: BrowserSlot) -> ProcessSpec:
    Browser.objects.update_or_create(pk=slot.id, defaults={"kind": slot.kind, "state": "ready"})
    return ProcessSpec(
        f"browser.{slot.id}",
        (sys.executable, "-c", LEASE_HOLDER, slot.id),
        env={
            "DJANGO_SETTINGS_MODULE": "webpool_site.settings",
            "WEBPOOL_HOME": str(settings.WEBPOOL_HOME),
            "WEBPOOL_REDIS_URL": settings.WEBPOOL_REDIS_URL,
        },
        cwd=ROOT,
        ready=lambda pid: slot.id in living(),
        stop_timeout_s=1.0,
    )


def wait_until(condition: Callable[[], Any], said: list[str], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def actions() -> list[tuple[str, str]]:
    return list(PoolEvent.objects.order_by("pk").values_list("action", "browser"))


def test_a_browser_is_added_for_work_and_leaves_when_it_holds_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    first = BrowserSlot("chromium", "chromium")
    supervisor = Supervisor(log_dir=tmp_path / "logs", run_dir=tmp_path / "run")
    supervisor.start([spec(first)])
    supervisor.wait_ready(60)
    run = make_run(shards=1)  # it waits for the only browser, which is therefore at work
    resizer = Resizer(
        supervisor=supervisor,
        listed=(first,),
        spec_of=spec,
        start_timeout_s=60,
        limits=Limits(most=2, cooldown_s=1.0, factor=0.9, memory_share=1.0),
        out=lambda line: said.append(str(line)),
    )
    resizer.start()
    try:
        wait_until(lambda: "chromium-2" in living(), said)
        assert actions()[0] == ("grew", "chromium-2")
        held = make_run(shards=1, pins={"0": "chromium-2"}).shards.get(index=0)
        busy = claims.claim(held.pk, held.fence, timezone.now())
        assert busy is not None
        done = run.shards.get(index=0)
        Run.objects.filter(pk=done.run_id).delete()
        draining.drain("chromium-2", reason="a person asked")
        time.sleep(1.0)
        assert "chromium-2" in living(), "it holds a shard"
        draining.undrain("chromium-2")
        wait_until(lambda: busy.run.shards.update(state=StepState.DONE), said)
        wait_until(lambda: ("shrank", "chromium-2") in actions(), said)
        assert actions() == [(a, "chromium-2") for a in ("grew", "drained", "shrank")]
        assert "chromium-2" not in {c.name for c in supervisor.status() if c.pid}
        row = Browser.objects.get(pk="chromium-2")
        assert (row.state, row.drained_at) == ("stopped", None)
        assert any("added: utilisation 1.00 above 0.7" in line for line in said), said
    finally:
        resizer.end()
        supervisor.stop(10)
