"""Real models in real browsers through the command line: equal to onnxruntime on the unsplit model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.catalog.tokenizer import Tokenizer
from inference.graph.reference import equal, reference
from inference.zoo import micro, minilm
from tests.support import small_models
from tests.support.faults import add
from tests.support.stack import ROOT, RunningStack

SENTENCES = ["A cat sleeps on the warm windowsill.", "Shares fell.", "Why?", "It is what it is."]


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    savez: Any = np.savez  # its stub takes the keyword arrays for its own flag
    savez(path, **arrays)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """MiniLM's file, tokenized sentences as a file, and what onnxruntime answers."""
    folder = tmp_path_factory.mktemp("sample")
    tokenizer = minilm.build(folder / "minilm.onnx")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    arrays = Tokenizer(tokenizer, names).encode(SENTENCES)
    save(folder / "in.npz", arrays)
    return {"inputs": folder / "in.npz", "expected": reference(folder / "minilm.onnx", arrays)}


def infer(stack: RunningStack, sample: dict[str, Any], out: Path, *args: str) -> dict[str, Any]:
    """Run minilm and check its answer; returns the report."""
    report = stack.infer("minilm", "--input", str(sample["inputs"]), "--output", str(out), *args)
    with np.load(out) as got:
        for name, expected in sample["expected"].items():
            assert equal(got[name], expected), name
    return report


def offers(stack: RunningStack) -> list[tuple[str, str]]:
    """Every (browser, backend) of the pool that passed its known-answer probe."""
    return [
        (row["id"], backend["name"])
        for row in stack.browser_rows()
        for backend in row["backends"]
        if backend["probe_ok"]
    ]


def test_every_installed_family_is_in_the_pool(stack: RunningStack) -> None:
    families = {row["family"] for row in stack.browser_rows()}
    assert {"chrome", "firefox", "webkitgtk"} <= families
    assert {"wasm", "webgpu", "webnn"} <= {backend for _, backend in offers(stack)}


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_layer_shards_over_all_browsers(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path, shards: int
) -> None:
    args = ["--strategy", "layer", "--shards", str(shards)]
    report = infer(stack, sample, tmp_path / "y.npz", *args)
    metrics = report["metrics"]
    assert metrics["component_count"] == metrics["successful_components"] == shards
    assert metrics["failed_components"] == 0
    used = {shard["browser"] for shard in metrics["shards"]}
    assert len(used) == min(shards, len(stack.browser_rows()))


def test_a_shard_on_every_backend_of_every_browser(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    pairs = offers(stack)
    pins = [f"--pin={i}={browser}/{backend}" for i, (browser, backend) in enumerate(pairs)]
    args = ["--strategy", "layer", "--shards", str(len(pairs)), "--deadline", "240", *pins]
    report = infer(stack, sample, tmp_path / "y.npz", *args)
    ran = [(shard["browser"], shard["backend"]) for shard in report["metrics"]["shards"]]
    assert ran == pairs
    providers = {"wasm": "CPU", "webgpu": "WebGpu", "webnn": "WebNN"}
    for shard in report["metrics"]["shards"]:
        assert shard["nodes"].get(f"{providers[shard['backend']]}ExecutionProvider", 0) > 0
        assert shard["browser_version"]
        if shard["backend"] == "webgpu":
            assert shard["software"] is not None


def test_a_batch_is_split_over_browsers_and_joined_in_order(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    report = infer(stack, sample, tmp_path / "y.npz", "--strategy", "data", "--shards", "3")
    assert len({shard["browser"] for shard in report["metrics"]["shards"]}) == 3


def test_text_goes_through_the_models_tokenizer(
    stack: RunningStack, sample: dict[str, Any]
) -> None:
    report = stack.infer("minilm", *(f"--text={sentence}" for sentence in SENTENCES))
    shapes = {item["name"]: item["shape"] for item in report["result"]}
    assert shapes["sentence_embedding"] == [len(SENTENCES), 384]


def test_inputs_with_a_declared_default_are_filled_in_and_reported(
    stack: RunningStack, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"input_ids": [[101, 7592, 102]]}))
    report = stack.infer("minilm", "--input", str(tmp_path / "x.json"))
    assert report["filled_in"] == [
        "attention_mask: ones_like:input_ids",
        "token_type_ids: zeros_like:input_ids",
    ]


def test_the_sharding_manager_in_a_plain_script(stack: RunningStack, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import asyncio, json
from inference.client.manager import ModelShardingManager

async def main():
    manager = ModelShardingManager(
        "minilm", num_shards=3, shard_type="layer", model_type="text_embedding", platform="wasm"
    )
    plan = await manager.initialize_sharding()
    answer = await manager.run_inference_sharded({"input_ids": [101, 2023, 102]}, max_retries=2)
    again = await manager.run_inference_sharded({"input_ids": [[101, 2023, 102]]})
    await manager.close()
    print(json.dumps({
        "plan": plan,
        "shape": answer["result"]["sentence_embedding"].shape,
        "same": bool((answer["result"]["sentence_embedding"] == again["result"]["sentence_embedding"]).all()),
        "filled_in": answer["metrics"]["filled_in"],
        "runs": manager.get_metrics()["runs"],
        "loads": [shard["load_ms"] for shard in answer["metrics"]["shards"]],
    }))

asyncio.run(main())
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, env={**stack.env, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + stack.logs()
    told = json.loads(done.stdout)
    assert (told["shape"], told["runs"], told["same"]) == ([1, 384], 2, True)
    assert len(told["plan"]["shards"]) == 3
    assert told["loads"] == [None, None, None], "initialize_sharding had loaded every shard"
    assert "input_ids: batch dimension added" in told["filled_in"]


REFUSED = [
    (["infer", "nosuch", "--text", "x"], "no model named 'nosuch'"),
    (
        ["infer", "minilm", "--text", "x", "--browsers", "lynx"],
        "no browser of the pool is named 'lynx'",
    ),
    (
        ["infer", "minilm", "--text", "x", "--platform", "cuda"],
        "expected one of webnn, webgpu, wasm",
    ),
    (["infer", "minilm", "--text", "x", "--strategy", "layer", "--shards", "9999"], "at most"),
    (["infer", "minilm", "--text", "x", "--pin", "0:a"], "expected SHARD=BROWSER"),
    (["infer", "minilm", "--input", "nosuch.npz"], "no such file"),
    (
        ["infer", "minilm", "--text", "x", "--browsers", "webkitgtk", "--platform", "webnn"],
        "no webnn",
    ),
    (["infer", "minilm", "--text", "x", "--deadline", "-1"], "deadline"),
    (
        ["infer", "minilm", "--text", "x", "--strategy", "data", "--shards", "2"],
        "cannot be split into 2 parts",
    ),
    (["plan", "minilm", "--shards", "0"], "a whole number from 1"),
]


@pytest.mark.parametrize(("args", "message"), REFUSED, ids=[" ".join(a) for a, _ in REFUSED])
def test_bad_requests_get_one_clear_line_and_exit_code_2(
    stack: RunningStack, args: list[str], message: str
) -> None:
    done = stack.manage(*args, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_wrong_names_types_and_shapes_say_what_was_expected(
    stack: RunningStack, tmp_path: Path
) -> None:
    add(stack, micro.chain(tmp_path / "chain.onnx"), "chain-names")
    cases: dict[str, dict[str, np.ndarray]] = {
        "unknown input 'z'": {"z": np.ones((1, 64), np.float32)},
        "float32: numbers of at most 3.403e+38 in size; got 1e+39 at [0, 0]": {
            "x": np.full((1, 64), 1e39)
        },
        "expected shape [rows, 64], got [1, 63]": {"x": np.ones((1, 63), np.float32)},
    }
    for message, arrays in cases.items():
        save(tmp_path / "x.npz", arrays)
        done = stack.manage("infer", "chain-names", "--input", str(tmp_path / "x.npz"), check=False)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_add_model_refuses_what_is_no_model_and_keeps_nothing(
    stack: RunningStack, tmp_path: Path
) -> None:
    whole = micro.chain(tmp_path / "chain.onnx").read_bytes()
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    before = stack.get("/api/models/")["count"]
    for name in ("text.onnx", "cut.onnx", "nosuch.onnx"):
        done = stack.manage("add_model", str(tmp_path / name), "--name", "bad", check=False)
        assert done.returncode == 2, done.stderr
    assert stack.get("/api/models/")["count"] == before


def test_without_a_pool_infer_says_how_to_start_one(tmp_path: Path) -> None:
    alone = RunningStack(tmp_path / "home")
    alone.migrate()
    alone.manage("add_model", str(micro.add_one(tmp_path / "m.onnx")), "--name", "m")
    np.savez(tmp_path / "x.npz", x=np.ones(3, np.float32))
    done = alone.manage("infer", "m", "--input", str(tmp_path / "x.npz"), check=False)
    assert done.returncode == 2
    assert "make up" in done.stderr


def test_compared_shards_are_computed_in_two_browsers_that_agree(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    args = ("--strategy", "layer", "--shards", "2", "--platform", "wasm", "--redundancy", "compare")
    report = infer(stack, sample, tmp_path / "out.npz", *args)
    for shard in stack.get(f"/api/runs/{report['run']}/")["shards"]:
        tried = shard["attempt_rows"]
        assert [attempt["outcome"] for attempt in tried] == ["doubted", "succeeded"]
        assert len({attempt["browser"] for attempt in tried}) == 2


def test_of_two_copies_the_first_answer_counts(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    args = ("--strategy", "layer", "--shards", "2", "--platform", "wasm", "--redundancy", "first")
    report = infer(stack, sample, tmp_path / "out.npz", *args)
    shards = stack.get(f"/api/runs/{report['run']}/")["shards"]
    assert [(shard["index"], shard["copy"]) for shard in shards] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for both in (shards[:2], shards[2:]):
        assert sorted(shard["state"] for shard in both) == ["cancelled", "done"]
        assert len({shard["browser"] for shard in both}) == 2
        outcomes = [attempt["outcome"] for shard in both for attempt in shard["attempt_rows"]]
        assert outcomes.count("succeeded") == 1


def test_a_second_copy_needs_a_second_browser(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    failed = stack.manage(
        "infer", "minilm", "--input", str(sample["inputs"]),
        "--browsers", "firefox", "--redundancy", "first", check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert "other copy" in failed.stderr


def test_an_odd_answer_is_confirmed_once(stack: RunningStack, tmp_path: Path) -> None:
    model = tmp_path / "relu.onnx"
    model.write_bytes(small_models.relu())
    add(stack, model, "odd")
    negative = {"x": np.full(3, -1.0, np.float32)}

    def attempts(inputs: dict[str, np.ndarray]) -> list[str]:
        run = stack.wait_run(stack.submit("odd", inputs, platform="wasm"))
        assert run["state"] == "succeeded", run["error"]
        (shard,) = run["shards"]
        return [attempt["outcome"] for attempt in shard["attempt_rows"]]

    assert attempts({"x": np.ones(3, np.float32)}) == ["succeeded"]
    assert attempts(negative) == ["doubted", "succeeded"]
    assert all(attempts(negative) == ["succeeded"] for _ in range(5))


def test_a_batch_goes_over_copies_of_a_cut_model(
    stack: RunningStack, sample: dict[str, Any], tmp_path: Path
) -> None:
    args = ("--strategy", "layer", "--shards", "2", "--data-parallel", "2", "--platform", "wasm")
    report = infer(stack, sample, tmp_path / "out.npz", *args)
    assert report["metrics"]["data_parallel"] == 2
    assert len(report["metrics"]["shards"]) == 4
    assert len(report["metrics"]["joins"]) == 1
    refusals = {
        (
            "--strategy",
            "layer",
            "--shards",
            "2",
            "--data-parallel",
            "9",
        ): "a batch of 4 cannot be split into 9 parts",
        ("--strategy", "none", "--data-parallel", "2"): "expected the strategy layer",
    }
    for wrong, message in refusals.items():
        given = ["--input", str(sample["inputs"]), *wrong]
        done = stack.manage("infer", "minilm", *given, check=False)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
