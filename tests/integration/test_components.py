"""A model of three files over real browsers: equal to onnxruntime running the files one after another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from inference.graph.reference import equal
from tests.support.doors import multipart, send
from tests.support.ensembles import DIAMOND, diamond, in_order, question
from tests.support.stack import ROOT, RunningStack

JSON = {"Content-Type": "application/json"}
# Long enough to be seen at once, short enough for a slow machine.
SIZES: dict[str, Any] = {"rows": 128, "width": 384}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return diamond(folder, matmuls=12, width=SIZES["width"])


@pytest.fixture(scope="module")
def clip(stack: RunningStack, manifest: Path) -> Iterator[RunningStack]:
    """The stack with the model, as an operator registers it."""
    told = stack.manage("add_model", str(manifest), "--type", "multimodal").stdout
    assert "3 components" in told
    assert "component fusion (fusion.onnx) after text, image" in told
    yield stack
    assert send(stack, "DELETE", "/api/models/clip/").status == 204


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_encoders_run_at_once_and_fusion_after_both(
    clip: RunningStack, manifest: Path, tmp_path: Path
) -> None:
    inputs = question(3, **SIZES)
    np.savez(tmp_path / "x.npz", **inputs)  # type: ignore[arg-type]
    args = ["--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz")]
    report = clip.infer("clip", *args)
    with np.load(tmp_path / "y.npz") as got:
        assert set(got.files) == {"score"}
        assert equal(got["score"], in_order(manifest, inputs)["score"])
    metrics = report["metrics"]
    assert report["strategy"] == metrics["shard_type"] == "component"
    assert metrics["successful_components"] == metrics["component_count"] == 3
    assert [shard["group"] for shard in metrics["shards"]] == ["text", "image", "fusion"]

    text, image, fusion = clip.get(f"/api/runs/{report['run']}/")["shards"]
    assert text["browser"] != image["browser"]
    assert text["queued_at"] == image["queued_at"], "they were sent together"
    recorded = max(moment(text["finished_at"]), moment(image["finished_at"]))
    assert moment(fusion["queued_at"]) >= recorded
    assert moment(fusion["attempt_rows"][0]["started_at"]) >= recorded
    assert all(len(shard["attempt_rows"]) == 1 for shard in (text, image, fusion))


def test_components_go_where_they_are_pinned(clip: RunningStack, manifest: Path) -> None:
    inputs = question(4, **SIZES)
    first, second = [row["id"] for row in clip.browser_rows()][:2]
    pins = {"0": f"{second}/wasm", "1": f"{second}/wasm", "2": f"{first}/wasm"}
    run_id = clip.submit("clip", inputs, pins=pins)
    run = clip.wait_run(run_id)
    assert run["state"] == "succeeded", run["error"]
    assert [shard["browser"] for shard in run["shards"]] == [second, second, first]
    assert equal(clip.outputs(run_id)["score"], in_order(manifest, inputs)["score"])


def test_the_open_inference_protocol_serves_the_whole(clip: RunningStack, manifest: Path) -> None:
    inputs = question(5, **SIZES)
    with triton.InferenceServerClient(f"127.0.0.1:{clip.port}") as client:
        told = client.get_model_metadata("clip")
        assert told["platform"] == "ensemble"
        assert [port["name"] for port in told["inputs"]] == ["words", "pixels"]
        assert told["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1, 4]}]
        steps = client.get_model_config("clip")["ensemble_scheduling"]["step"]
        assert [step["model_name"] for step in steps] == ["text", "image", "fusion"]
        assert steps[2]["output_map"] == {"y": "score"}
        sent = []
        for name, array in inputs.items():
            sent.append(triton.InferInput(name, list(array.shape), "FP32"))
            sent[-1].set_data_from_numpy(array)
        answer = client.infer("clip", sent)
        assert equal(answer.as_numpy("score"), in_order(manifest, inputs)["score"])
        facts = answer.get_response()["parameters"]
        assert (facts["strategy"], facts["shards"]) == ("component", 3)
        assert len(facts["browsers"].split(",")) == 3


def test_the_sharding_manager_runs_components(clip: RunningStack, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import asyncio, json
import numpy as np
from inference.client.manager import ModelShardingManager

async def main():
    manager = ModelShardingManager("clip", shard_type="component", model_type="multimodal")
    plan = await manager.initialize_sharding()
    x = np.ones(({SIZES["rows"]}, {SIZES["width"]}), np.float32)
    answer = await manager.run_inference_sharded({{"words": x, "pixels": x}})
    by_default = ModelShardingManager("clip")
    await by_default.initialize_sharding()
    print(json.dumps({{
        "shards": len(plan["shards"]),
        "shape": answer["result"]["score"].shape,
        "default": by_default.get_metrics()["shard_type"],
        "loads": [shard["load_ms"] for shard in answer["metrics"]["shards"]],
    }}))
    await manager.close()

asyncio.run(main())
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, env={**clip.env, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + clip.logs()
    told = json.loads(done.stdout)
    assert told["shards"] == 3
    assert told["shape"] == [SIZES["rows"], 4]
    assert told["default"] == "component"


def test_a_manifest_comes_with_its_files(stack: RunningStack, tmp_path: Path) -> None:
    path = diamond(tmp_path / "small", width=20)  # files that no other model of the pool has
    files = [("components", path.parent / f"{name}.onnx") for name in ("text", "image", "fusion")]
    body, kind = multipart({"name": "uploaded"}, [("manifest", path), *files])
    made = send(stack, "POST", "/api/models/", body, kind)
    assert made.status == 201, made.body
    components = made.json()["components"]
    kept = [stack.home / "files" / item["sha256"] for item in components]
    assert all(file.is_file() for file in kept)
    plan = json.loads(stack.manage("plan", "uploaded", "--json").stdout)
    assert [(s["group"], s["depends_on"]) for s in plan["shards"]] == [
        ("text", []),
        ("image", []),
        ("fusion", [0, 1]),
    ]
    refused = stack.manage("infer", "uploaded", "--input", "x.json", "--strategy", "x", check=False)
    assert refused.returncode == 2

    incomplete, kind = multipart({"name": "incomplete"}, [("manifest", path), *files[:2]])
    answer = send(stack, "POST", "/api/models/", incomplete, kind)
    assert answer.status == 400
    assert "component 'fusion': 'fusion.onnx' is neither a file" in answer.json()["error"]

    assert send(stack, "DELETE", "/api/models/uploaded/").status == 204
    assert not any(file.exists() for file in kept)


def test_tritons_ensemble_of_registered_models(stack: RunningStack, tmp_path: Path) -> None:
    path = diamond(tmp_path / "small")
    for name in ("text", "image", "fusion"):
        one, kind = multipart({"name": f"e-{name}"}, [("file", path.parent / f"{name}.onnx")])
        assert send(stack, "POST", "/api/models/", one, kind).status == 201

    def tensor(name: str, *dims: int) -> dict[str, Any]:
        return {"name": name, "data_type": "TYPE_FP32", "dims": list(dims)}

    step = [
        {"model_name": "e-text", "input_map": {"x": "words"}, "output_map": {"pooled": "t"}},
        {"model_name": "e-image", "input_map": {"x": "pixels"}, "output_map": {"pooled": "i"}},
        {
            "model_name": "e-fusion",
            "input_map": {"a": "t", "b": "i"},
            "output_map": {"y": "score"},
        },
    ]
    config = {
        "platform": "ensemble",
        "input": [tensor("words", -1, 64), tensor("pixels", -1, 64)],
        "output": [tensor("score", -1, 4)],
        "ensemble_scheduling": {"step": step},
    }
    wanted = json.dumps({"name": "ensemble", "model_type": "multimodal", "manifest": config})
    made = send(stack, "POST", "/api/models/", wanted, JSON)
    assert made.status == 201, made.body
    inputs = question(6)
    run_id = stack.submit("ensemble", inputs)
    assert stack.wait_run(run_id)["state"] == "succeeded"
    assert equal(stack.outputs(run_id)["score"], in_order(path, inputs)["score"])

    config["output"] = [tensor("score", -1, 5)]
    wanted = json.dumps({"name": "wrong", "manifest": config})
    refused = send(stack, "POST", "/api/models/", wanted, JSON)
    assert refused.status == 400
    assert "axis 1 is 5 and 4" in refused.json()["error"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "none"}, "which run by the strategy component, got none"),
    ({"strategy": "layer", "shards": 2}, "got layer"),
    ({"strategy": "data"}, "got data"),
    ({"shards": 2}, "has 3 shards, one for each component (text, image, fusion); got shards=2"),
    ({"pins": {"3": "/wasm"}}, "pin for shard 3: the run has 3"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_ways_that_components_cannot_go(
    clip: RunningStack, options: dict[str, Any], message: str
) -> None:
    inputs = {name: array.tolist() for name, array in question(0, rows=1, width=384).items()}
    wanted = json.dumps({"model": "clip", "inputs": inputs, **options})
    answer = send(clip, "POST", "/api/runs/", wanted, JSON)
    assert answer.status == 400, answer.body
    assert message in answer.json()["error"]


def test_a_manifest_in_the_wrong_words_is_one_clear_line(
    stack: RunningStack, tmp_path: Path
) -> None:
    path = diamond(tmp_path / "bad")
    path.write_text(json.dumps({**DIAMOND, "outputs": {"score": "logits"}}))
    done = stack.manage("add_model", str(path), check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "CommandError: clip.json: output 'score' of the whole: no component makes 'logits'; they make "
        "'text_pooled', 'pooled', 'scores'"
    )
