"""`webpool.client` as another machine has it: its own wheel, an environment without Django, a key, HTTP."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from tests.support.shared import ROOT
from tests.support.stack import RunningStack

SCRIPT = ROOT / "tests" / "support" / "scripts" / "remote.py"


def needed(requirements: Iterable[str]) -> set[str]:
    """The distributions that these requirements bring along, as the ones installed here declare them."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        if wanted.name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(wanted.name)
        waiting += map(Requirement, importlib.metadata.requires(wanted.name) or ())
    return found


def link(distribution: str, folder: Path) -> None:
    """What a distribution installed at the top of site-packages, linked into another."""
    for file in importlib.metadata.files(distribution) or ():
        top = file.parts[0]
        if top != ".." and not (folder / top).exists():
            (folder / top).symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the client's wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "wheel", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT / "inference" / "remote")], check=True)
    venv.create(folder / "environment", symlinks=True)
    (site,) = (folder / "environment" / "lib").glob("python*/site-packages")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    for distribution in needed(
        importlib.metadata.Distribution.at(next(site.glob("*.dist-info"))).requires or ()
    ):
        link(distribution, site)
    return folder / "environment" / "bin" / "python"


@pytest.fixture(scope="module")
def told(stack: RunningStack, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the script printed, run from another home."""
    home = tmp_path_factory.mktemp("home")
    key = stack.manage("create_api_key", "elsewhere").stdout.split("wp_")[1].split()[0]
    done = subprocess.run(
        [str(python), str(SCRIPT)],
        cwd=home,
        env={"HOME": str(home), "WEBPOOL_URL": stack.url, "WEBPOOL_API_KEY": f"wp_{key}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + stack.logs()
    return json.loads(done.stdout)


def test_inference_runs_models_and_a_comparison(told: Any) -> None:
    got = told["blocking"]
    assert got["ready"] is True
    assert got["dtype"] == "float32"
    assert len(got["browsers"]) == len(got["backends"]) == 2
    assert got["shards"] == got["browsers"]
    assert got["texts"] == [2, 384]
    assert got["waited"] == "succeeded"
    np.testing.assert_allclose(got["later"], got["vector"], atol=1e-4)
    assert "minilm" in got["models"]
    assert "input_ids" in got["ports"]
    assert (got["comparison"], got["asked"]) == ("finished", "given")
    assert got["cells"] == [["firefox", "measured"]]
    assert got["file"] == "<!doctype html>"


def test_what_is_refused_says_why(told: Any) -> None:
    got = told["blocking"]["refused"]
    assert got["model"][:2] == ["NotFound", "invalid_input"]
    assert got["type"][:2] == ["PoolError", "invalid_input"] and "input_ids" in got["type"][2]
    assert got["list"][0] == "TypeError" and "numpy array" in got["list"][2]
    assert got["deadline"][:2] == ["PoolError", "timeout"]
    assert got["key"][:2] == ["Unauthorised", "unauthorised"]
    assert got["address"][0] == "Unreachable" and "http://127.0.0.1:9/api/" in got["address"][2]


def test_asyncio(told: Any) -> None:
    got = told["awaited"]
    assert len(got["vectors"]) == 3
    np.testing.assert_allclose(got["vectors"][0], told["blocking"]["vector"], atol=1e-4)
    assert (got["state"], got["rows"]) == ("succeeded", 1)
    assert got["models"] == told["blocking"]["models"]
