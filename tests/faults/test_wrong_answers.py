"""A browser that computes wrongly is found out by a known answer, while it is idle."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import small_models
from tests.support.stack import RunningStack

BROWSER = "chromium-npm"
X = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)


def test_wrong_weights_in_a_page_are_found_and_repaired(tmp_path: Path) -> None:
    right, wrong = small_models.block(seed=1), small_models.block(seed=2)
    (tmp_path / "m.onnx").write_bytes(right)
    pool = RunningStack(
        tmp_path / "home", browsers=BROWSER, extra_env={"WEBPOOL_CHECK_EVERY_S": "1"}
    )
    pool.migrate()
    pool.manage("add_model", str(tmp_path / "m.onnx"), "--name", "m")
    pool.manage("plan", "m", "--strategy", "none")
    (tmp_path / "other.onnx").write_bytes(wrong)
    pool.manage("add_model", str(tmp_path / "other.onnx"), "--name", "other")
    pool.manage("plan", "other", "--strategy", "none")
    before_s = time.time()
    file = pool.home / "files" / hashlib.sha256(right).hexdigest()
    file.write_bytes(wrong)  # as a disk or a page that turns bits would have it
    pool.start()
    try:
        before = answer(pool)
        until = time.monotonic() + 60
        while not (incidents := pool.get(f"/api/browsers/{BROWSER}/")["incidents"]):
            assert time.monotonic() < until, pool.logs()
            time.sleep(0.1)
        assert (incidents[-1]["rung"], incidents[-1]["repaired"]) == ("restart", True)
        assert "wrongly" in incidents[-1]["message"]
        file.write_bytes(right)
        pool.wait_ready()
        until = time.monotonic() + 60
        while np.allclose(answer(pool), before):  # perhaps it had loaded the wrong ones once more
            assert time.monotonic() < until, pool.logs()
            time.sleep(1.0)
        assert wait_told(pool, right)["confirmed_at"] > before_s
        (pool.home / "known_answers" / f"{hashlib.sha256(wrong).hexdigest()}.npz").unlink()
        answer(pool, "other")
        told = wait_told(pool, wrong)
        assert (told["known_answer"], told["confirmed_at"]) == (False, None)
    finally:
        pool.stop()
    assert not pool.wait_gone()


def wait_told(pool: RunningStack, content: bytes) -> dict[str, Any]:
    """What is told of a loaded file once it had its turn."""
    until = time.monotonic() + 60
    while True:
        loaded = pool.get(f"/api/browsers/{BROWSER}/")["live"]["loaded"]
        for file in loaded:
            asked = file["known_answer"] is not None
            if asked and file["sha256"] == hashlib.sha256(content).hexdigest():
                return dict(file)
        assert time.monotonic() < until, loaded
        time.sleep(0.1)


def answer(pool: RunningStack, model: str = "m") -> np.ndarray:
    run = pool.wait_run(pool.submit(model, {"x": X}, platform="wasm"))
    assert run["state"] == "succeeded", run["error"]
    return pool.outputs(run["id"])["y"]
