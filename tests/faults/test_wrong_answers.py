"""A browser that computes wrongly is found out by known answers: before it computes a file, or while idle."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import small_models
from tests.support.stack import RunningStack

BROWSER = "chromium-npm"
X = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
RIGHT, OTHER = small_models.block(seed=1), small_models.block(seed=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a pool that never ran, with two models that take and give the same types and shapes."""
    folder = tmp_path_factory.mktemp("models")
    pool = RunningStack(folder / "home")
    pool.migrate()
    for name, content in (("m", RIGHT), ("other", OTHER)):
        (folder / "m.onnx").write_bytes(content)
        pool.manage("add_model", str(folder / "m.onnx"), "--name", name)
        pool.manage("plan", name, "--strategy", "none")
    return pool.home


@pytest.fixture
def pool(home: Path, tmp_path: Path) -> Iterator[RunningStack]:
    """Not started yet."""
    pool = RunningStack(
        tmp_path / "home",
        browsers=BROWSER,
        backends="wasm",
        extra_env={"WEBPOOL_CHECK_EVERY_S": "1"},
    )
    shutil.copytree(home, pool.home, symlinks=True)
    yield pool
    pool.stop()
    assert not pool.wait_gone()


def test_a_damaged_file_is_refused_until_it_is_whole_again(pool: RunningStack) -> None:
    file = pool.home / "files" / sha256(RIGHT)
    file.write_bytes(OTHER)
    pool.start()
    run = ask(pool)
    assert run["state"] == "failed"
    assert "damaged on disk" in run["error"]
    file.write_bytes(RIGHT)
    run = ask(pool)
    assert run["state"] == "succeeded", run["error"]
    assert run["metrics"]["shards"][0]["unproved"] is None


def test_a_file_that_was_right_and_is_not_any_more_has_its_browser_restarted(
    pool: RunningStack,
) -> None:
    known = pool.home / "known_answers"
    pool.start()
    before_s = time.time()
    assert ask(pool)["state"] == "succeeded"
    assert wait_told(pool, RIGHT)["confirmed_at"] > before_s
    pool.interrupt()
    shutil.copy(known / f"{sha256(RIGHT)}.npz", pool.home / "kept.npz")
    shutil.copy(known / f"{sha256(OTHER)}.npz", known / f"{sha256(RIGHT)}.npz")
    pool.start()  # its proof of before is remembered: the file is computed at once
    assert ask(pool)["state"] == "succeeded"
    until = time.monotonic() + 60
    while not (incidents := pool.get(f"/api/browsers/{BROWSER}/")["incidents"]):
        assert time.monotonic() < until, pool.logs()
        time.sleep(0.1)
    assert (incidents[-1]["rung"], incidents[-1]["repaired"]) == ("restart", True)
    assert "wrongly" in incidents[-1]["message"]


def test_a_file_without_a_known_answer_is_told_as_such(pool: RunningStack) -> None:
    (pool.home / "known_answers" / f"{sha256(OTHER)}.npz").unlink()
    pool.start()
    run = ask(pool, "other")
    assert run["state"] == "succeeded", run["error"]
    assert "no known answer: none was kept" in run["metrics"]["shards"][0]["unproved"]
    told = wait_told(pool, OTHER)
    assert (told["known_answer"], told["confirmed_at"]) == (False, None)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wait_told(pool: RunningStack, content: bytes) -> dict[str, Any]:
    """What is told of a loaded file once it had its turn."""
    until = time.monotonic() + 60
    while True:
        loaded = pool.get(f"/api/browsers/{BROWSER}/")["live"]["loaded"]
        for file in loaded:
            if file["known_answer"] is not None and file["sha256"] == sha256(content):
                return dict(file)
        assert time.monotonic() < until, loaded
        time.sleep(0.1)


def ask(pool: RunningStack, model: str = "m") -> dict[str, Any]:
    return pool.wait_run(pool.submit(model, {"x": X}, platform="wasm"))
