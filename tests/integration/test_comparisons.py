"""A model compared over real browsers: faults that were planted are found, by the command and over REST."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support import ensembles, small_models
from tests.support.doors import JSON, send, wait_for
from tests.support.faults import add
from tests.support.stack import RunningStack

BROWSERS = "chromium-npm,firefox"


@pytest.fixture(scope="module")
def models(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Name → name, of one that WebNN answers wrongly, one that it cannot load, one with random operators."""
    folder = tmp_path_factory.mktemp("compared")
    made = {
        "gated": small_models.gated(),
        "doubles": small_models.double_matmul(),
        "dice": small_models.random_normal(),
    }
    for name, raw in made.items():
        (folder / f"{name}.onnx").write_bytes(raw)
        add(stack, folder / f"{name}.onnx", name)
    return {name: name for name in made}


def compare(stack: RunningStack, folder: Path, *args: str, code: int = 0) -> dict[str, Any]:
    """What `manage.py compare` writes."""
    path = folder / "found.json"
    done = stack.manage(
        "compare", *args, "--browsers", BROWSERS, "--backends", "wasm,webnn", "--runs", "6", "--seed", "1",
        "--json", str(path), check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr + stack.logs()
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def cells(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{cell['browser']} {cell['backend']}": cell for cell in document["cells"]}


def test_a_backend_that_answers_wrongly_is_found_and_told_at_every_door(
    stack: RunningStack, models: Mapping[str, str], tmp_path: Path
) -> None:
    html, junit = tmp_path / "one.html", tmp_path / "one.xml"
    document = compare(
        stack, tmp_path, models["gated"], "--html", str(html), "--junit", str(junit), "--fail-on", "wrong",
        code=1,
    )  # fmt: skip
    found = cells(document)
    assert found["chromium-npm webnn"]["state"] == "wrong"
    assert "off by" in found["chromium-npm webnn"]["reason"]
    assert found["firefox webnn"]["state"] == "untried"
    assert "webnn" in found["firefox webnn"]["reason"]
    for one in (found["chromium-npm wasm"], found["firefox wasm"]):
        assert one["state"] == "measured"
        assert len(one["samples_ms"]) == 6
        assert len(set(one["runs"])) == 7
        assert one["largest_difference"] < 1e-5
        assert one["nodes"] == {"CPUExecutionProvider": 1}
        assert one["memory_mb"] > 0
        assert one["median_ms"]["low"] <= one["median_ms"]["value"] <= one["median_ms"]["high"]
    assert "firefox wasm" in found["chromium-npm wasm"]["same_bits"]
    assert "off by" in html.read_text()
    suite = ET.fromstring(junit.read_bytes()).find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    told = stack.get(f"/api/comparisons/{document['id']}/")
    assert told["cells"] == document["cells"]
    for kind in ("html", "junit"):
        answer = send(stack, "GET", f"/api/comparisons/{document['id']}/?format={kind}")
        assert answer.status == 200


def test_what_cannot_be_loaded_is_told_in_full_and_random_answers_are_not_judged(
    stack: RunningStack, models: Mapping[str, str], tmp_path: Path
) -> None:
    found = cells(compare(stack, tmp_path, models["doubles"]))
    failed = found["chromium-npm webnn"]
    assert failed["state"] == "failed"
    assert failed["operator"].startswith("MatMul")
    assert found["firefox wasm"]["state"] == "measured"

    document = {"model": models["dice"], "browsers": ["firefox"], "backends": ["wasm"], "runs": 3}
    answer = send(stack, "POST", "/api/comparisons/", json.dumps(document), JSON)
    assert answer.status == 202, answer.body
    address = f"/api/comparisons/{answer.json()['id']}/"
    assert wait_for(lambda: stack.get(address)["state"] == "finished")
    told = stack.get(address)
    (one,) = told["cells"]
    assert (one["state"], len(one["samples_ms"]), one["varies"]) == ("not judged", 3, True)
    assert any("random" in sentence for sentence in told["said"])


def test_each_browser_computes_all_components_of_a_model_of_several_files(
    stack: RunningStack, tmp_path: Path
) -> None:
    manifest = ensembles.diamond(tmp_path / "files")
    stack.manage("add_model", str(manifest), "--name", "wired")
    document = compare(stack, tmp_path, "wired")
    found = cells(document)
    for browser in BROWSERS.split(","):
        one = found[f"{browser} wasm"]
        assert (one["state"], one["strategy"]) == ("measured", "component")
        assert len(one["samples_ms"]) == 6
        assert one["largest_difference"] < 1e-5
        assert [shard["name"] for shard in one["shards"]] == ["text", "image", "fusion"]
        nodes = sum(shard["nodes"]["CPUExecutionProvider"] for shard in one["shards"])
        assert one["nodes"] == {"CPUExecutionProvider": nodes}
        run = stack.get(f"/api/runs/{one['runs'][0]}/")
        assert {shard["browser"] for shard in run["metrics"]["shards"]} == {browser}
    assert found["chromium-npm webnn"]["state"] == "measured"
