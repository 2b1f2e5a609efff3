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
# They take and give the same types and shapes.
MODELS = {name: small_models.block(seed=seed) for seed, name in enumerate(("m", "other", "third"))}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Of `m` the file is damaged, of `other` no answer is known; with `third` nothing is wrong yet."""
    folder = tmp_path_factory.mktemp("wrong")
    pool = RunningStack(
        folder / "home",
        browsers=BROWSER,
        backends="wasm",
        extra_env={"WEBPOOL_CHECK_EVERY_S": "1"},
    )
    pool.migrate()
    for name, content in MODELS.items():
        (folder / "m.onnx").write_bytes(content)
        pool.manage("add_model", str(folder / "m.onnx"), "--name", name)
        pool.manage("plan", name, "--strategy", "none")
    file_of(pool, "m").write_bytes(MODELS["other"])
    answer_of(pool, "other").unlink()
    pool.start()
    yield pool
    pool.stop()
    assert not pool.wait_gone()


def file_of(pool: RunningStack, model: str) -> Path:
    return pool.home / "files" / sha256(model)


def answer_of(pool: RunningStack, model: str) -> Path:
    return pool.home / "known_answers" / f"{sha256(model)}.npz"


def test_a_damaged_file_is_refused_until_it_is_whole_again(pool: RunningStack) -> None:
    run = ask(pool, "m")
    assert run["state"] == "failed"
    assert "damaged on disk" in run["error"]
    file_of(pool, "m").write_bytes(MODELS["m"])
    run = ask(pool, "m")
    assert run["state"] == "succeeded", run["error"]
    assert run["metrics"]["shards"][0]["unproved"] is None


def test_a_file_without_a_known_answer_is_told_as_such(pool: RunningStack) -> None:
    run = ask(pool, "other")
    assert run["state"] == "succeeded", run["error"]
    assert "no known answer: none was kept" in run["metrics"]["shards"][0]["unproved"]
    told = wait_told(pool, "other")
    assert (told["known_answer"], told["confirmed_at"]) == (False, None)


def test_a_file_that_was_right_and_is_not_any_more_has_its_browser_restarted(
    pool: RunningStack,
) -> None:
    before_s = time.time()
    assert ask(pool, "third")["state"] == "succeeded"
    assert wait_told(pool, "third")["confirmed_at"] > before_s
    pool.interrupt()
    shutil.copy(answer_of(pool, "m"), answer_of(pool, "third"))
    pool.start()  # its proof of before is remembered: the file is computed at once
    assert ask(pool, "third")["state"] == "succeeded"
    until = time.monotonic() + 60
    while not (incidents := pool.get(f"/api/browsers/{BROWSER}/")["incidents"]):
        assert time.monotonic() < until, pool.logs()
        time.sleep(0.1)
    assert (incidents[-1]["rung"], incidents[-1]["repaired"]) == ("restart", True)
    assert "wrongly" in incidents[-1]["message"]


def sha256(model: str) -> str:
    return hashlib.sha256(MODELS[model]).hexdigest()


def wait_told(pool: RunningStack, model: str) -> dict[str, Any]:
    """What is told of a loaded file once it had its turn."""
    until = time.monotonic() + 60
    while True:
        loaded = pool.get(f"/api/browsers/{BROWSER}/")["live"]["loaded"]
        for file in loaded:
            if file["known_answer"] is not None and file["sha256"] == sha256(model):
                return dict(file)
        assert time.monotonic() < until, loaded
        time.sleep(0.1)


def ask(pool: RunningStack, model: str) -> dict[str, Any]:
    return pool.wait_run(pool.submit(model, {"x": X}, platform="wasm"))
