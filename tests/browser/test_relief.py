"""A browser above its limit gives memory back between two tasks, and computes on."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers import restart_lock
from browsers.models import BrowserState, Incident
from browsers.worker import BrowserWorker
from tests.browser.bench import assert_close, reference, tensor
from tests.browser.test_worker import HOOKS, put
from tests.support import small_models

KINDS = ("chromium-npm", "firefox", "webkitgtk")
X = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)


@functools.cache
def model() -> bytes:
    return small_models.heavy(megabytes=60, seed=1)


@pytest.fixture
def worker(
    kind: str, settings: Any, database: None, valkey: Any, tmp_path: Path
) -> Iterator[BrowserWorker]:
    settings.WEBPOOL_HOME = tmp_path
    settings.WEBPOOL_BACKENDS = ["wasm"]
    settings.WEBPOOL_MACHINE_MEMORY = 1.0
    (tmp_path / "files").mkdir()
    Incident.objects.all().delete()
    worker = BrowserWorker(kind, kind, HOOKS)
    worker.start()
    yield worker
    worker.close()


def grown(worker: BrowserWorker, settings: Any) -> float:
    """Run the model; by how many MB the browser grew."""
    right(worker, settings)
    worker.memory.measure()
    assert worker.memory.tree_mb is not None
    assert worker.session.fresh_mb is not None
    return worker.memory.tree_mb - worker.session.fresh_mb


def right(worker: BrowserWorker, settings: Any) -> None:
    report = worker.run(
        put(settings, model()), [tensor("x", X)], backend="wasm", strict=False, dims={}, rows=None,
        deadline_s=60,
    )  # fmt: skip
    assert_close(report, reference(model(), x=X))


def tried() -> list[tuple[str, bool | None]]:
    rows = Incident.objects.filter(category="memory_pressure").order_by("pk")
    return list(rows.values_list("rung", "repaired"))


@pytest.mark.parametrize("kind", KINDS)
def test_above_its_limit_it_gives_back_until_it_is_below(
    worker: BrowserWorker, settings: Any
) -> None:
    growth = grown(worker, settings)
    assert growth > 64
    assert not worker.memory.shortage
    assert worker.session.fresh_mb is not None
    worker.memory._limit_mb = worker.session.fresh_mb + growth / 2
    worker.memory.measure()
    assert "its limit is" in worker.memory.shortage
    assert worker.memory.relief_is_due(time.monotonic())
    assert worker.status.live().short_of_memory
    assert worker.relieve()
    assert not worker.memory.shortage
    assert worker.status.state == BrowserState.READY
    acts = tried()
    assert acts[0][0] == "unload"
    assert [repaired for _, repaired in acts] == [False] * (len(acts) - 1) + [True]
    given_back = sum(i.reclaimed_mb or 0.0 for i in Incident.objects.all())
    assert given_back > growth / 3
    right(worker, settings)


@pytest.mark.parametrize("kind", KINDS[:1])
def test_while_the_machine_is_short_browsers_restart_one_after_the_other(
    worker: BrowserWorker, settings: Any
) -> None:
    grown(worker, settings)
    settings.WEBPOOL_MACHINE_MEMORY = 0.0
    worker.memory.measure()
    assert worker.memory.machine_short
    assert worker.relieve()
    assert tried() == [("unload", False), ("refresh", False), ("restart", False)]
    assert not worker.memory.relief_is_due(time.monotonic()), "in vain: not again at once"
    with restart_lock.turn("another", wait_s=0.0) as ours:
        assert ours
        with restart_lock.turn(worker.id, wait_s=0.3) as mine:
            assert not mine
    with restart_lock.turn(worker.id, wait_s=0.0) as mine:
        assert mine
    right(worker, settings)
