"""The disk that holds the home is full for a while: clear refusals, nothing lost, and the pool comes back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support import small_models
from tests.support.stack import RunningStack
from webpool_site.lab.faults.targets import NoTarget, Target, Targets

BROWSER = "chromium-npm"
X = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """400 MB: a pool of one browser takes a little more than half of it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk can be mounted by root alone: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> list[Path]:
    """Files that take the last byte."""
    made = []
    for number, size in enumerate((2**20, 2**10)):
        made.append(disk / f"filler-{number}")
        with made[-1].open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(size))
    return made


def ask(pool: RunningStack) -> tuple[str, str]:
    """The id of a run that was taken, or why it was not."""
    try:
        return pool.submit("m", {"x": X}), ""
    except urllib.error.HTTPError as refused:
        said = json.load(refused)
        assert (refused.code, said["category"]) == (503, "unavailable"), said
        return "", said["error"]
    except OSError as error:  # the web server is being started again
        return "", f"connection: {error}"


def test_a_full_disk_costs_no_answer_and_no_pool(small_disk: Path) -> None:
    pool = RunningStack(small_disk / "home", browsers=BROWSER, backends="wasm")
    pool.home.mkdir()
    pool.migrate()
    (small_disk / "m.onnx").write_bytes(small_models.block(seed=1))
    pool.manage("add_model", str(small_disk / "m.onnx"), "--name", "m")
    pool.start()
    try:
        taken = [ask(pool)[0]]
        right = pool.outputs(pool.wait_run(taken[0])["id"])["y"]
        filled = fill(small_disk)
        refusals: list[str] = []
        targets = Targets(pool.home)
        for target in (Target.PAGE, Target.WORKER, Target.WEB):
            with contextlib.suppress(NoTarget, psutil.NoSuchProcess):  # it may be down already
                targets.find(target, BROWSER).kill()
            until = time.monotonic() + 5
            while time.monotonic() < until:
                run, why = ask(pool)
                (taken if run else refusals).append(run or why)
                time.sleep(0.2)
        told = pool.manage("add_model", str(small_disk / "m.onnx"), "--name", "again", check=False)
        assert "disk is full" in told.stderr, told.stderr
        assert any("disk" in why or "No space" in why for why in refusals), refusals
        assert pool.process is not None
        assert pool.process.poll() is None, pool.logs()
        for file in filled:
            file.unlink()
        until = time.monotonic() + 90
        while not (last := ask(pool)[0]):
            assert time.monotonic() < until, pool.logs()
            time.sleep(0.2)
        for run in filter(None, [*taken, last]):
            ended = pool.wait_run(run)
            assert ended["state"] == "succeeded", ended["error"]
        assert np.allclose(pool.outputs(last)["y"], right, atol=1e-4), "perhaps another backend's"
    finally:
        pool.stop()
    assert not pool.wait_gone()
