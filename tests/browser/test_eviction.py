"""A browser with room for two of three models: who leaves the page, who stays, who never gets in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.bridge import NotLoaded
from browsers.core.errors import OutOfMemory
from browsers.core.failures import Retry
from browsers.core.residency import PEAK_FACTOR
from tests.browser.bench import Bench, assert_close, reference, started, tensor
from tests.support import small_models

KINDS = ("chromium-npm", "firefox", "webkitgtk")
LIMIT_MB = 1000.0
X = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with started(request.param, tmp_path, memory_limit_mb=LIMIT_MB, backends={"wasm"}) as bench:
        yield bench


def room_mb(bench: Bench) -> float:
    """How large a WebAssembly model may be beside what is planned in the browser now."""
    return (LIMIT_MB - bench.session.memory().planned_mb) / PEAK_FACTOR["wasm"]


def in_the_page(bench: Bench, model: bytes) -> bool:
    """Whether the engine itself has it: asked past the session, which would load it."""
    header: dict[str, Any] = {"model": bench.put(model), "backend": "wasm", "dims": {}}
    try:
        bench.session._page.bridge.request(
            "run", header | {"outputs": None}, [tensor("x", X)], timeout_s=60
        )
    except NotLoaded:
        return False
    return True


def settled_mb(bench: Bench) -> float:
    """Memory of the browser's processes once its garbage collectors have had time to work."""
    until = time.monotonic() + 30
    while True:
        memory_mb = bench.session.tree_pss_mb()
        assert memory_mb is not None
        if memory_mb < LIMIT_MB or time.monotonic() > until:
            return memory_mb
        time.sleep(0.2)


def test_the_least_recently_used_of_three_models_leaves_the_page(bench: Bench) -> None:
    room = room_mb(bench)
    models = {
        name: small_models.heavy(megabytes=room / 2.5, seed=seed)
        for seed, name in enumerate(("a", "b", "c"))
    }
    names = {bench.put(model): name for name, model in models.items()}
    answers = {name: reference(model, x=X) for name, model in models.items()}

    def run(name: str) -> tuple[bool, list[str]]:
        """Whether it had to be loaded, and who left for it."""
        report = bench.run(models[name], x=X)
        assert_close(report, answers[name])
        return report.load_ms is not None, [names[sha256] for sha256 in report.evicted]

    def resident() -> set[str]:
        listed = {names[model.sha256] for model in bench.session.loaded()}
        there = {name for name, model in models.items() if in_the_page(bench, model)}
        assert listed == there, "the session knows what the page holds"
        return there

    assert run("a") == (True, [])
    assert run("b") == (True, [])
    assert run("c") == (True, ["a"])
    assert resident() == {"b", "c"}
    assert run("b") == (False, [])
    assert run("a") == (True, ["c"])
    assert resident() == {"a", "b"}

    too_big = small_models.heavy(megabytes=room * 1.1, seed=3)
    for backend in ("wasm", None):
        with pytest.raises(OutOfMemory, match=f"over the limit of {LIMIT_MB:.0f} MB") as caught:
            bench.run(too_big, backend, x=X)
        assert caught.value.category.retry is Retry.NEVER_HERE
    assert resident() == {"a", "b"}
    assert run("a") == run("b") == (False, [])

    bench.session.load(bench.put(models["a"]), backend="wasm", deadline_s=120)
    assert run("c") == (True, ["b"]), "whoever was asked for last stays"

    for name in ("b", "a", "c"):
        assert run(name)[0]
    memory = settled_mb(bench)
    print(f"MEMORY {bench.kind}: {memory:.0f} MB after 8 loads of {room / 2.5:.0f} MB")
    assert memory < LIMIT_MB, "what left the page is free again"
