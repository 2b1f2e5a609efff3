"""The Python facade in plain scripts: over a running pool, and over one that the script starts and stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.graph.reference import equal, reference
from inference.zoo import minilm
from tests.support.stack import ROOT, RunningStack

SCRIPTS = ROOT / "tests" / "support" / "scripts"
IDS = [101, 2023, 102]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A home with a model and without a pool."""
    folder = Path(tmp_path_factory.mktemp("alone"))
    home = RunningStack(folder, browsers="chromium-npm:2", backends="wasm")
    home.add_sample()
    yield home
    for process in home.wait_gone():
        process.kill()


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What onnxruntime answers for token ids."""
    path = tmp_path_factory.mktemp("reference") / "minilm.onnx"
    minilm.build(path)

    def answer(ids: list[list[int]]) -> dict[str, np.ndarray]:
        tokens = np.array(ids)
        arrays = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        return reference(path, {**arrays, "token_type_ids": np.zeros_like(tokens)})

    return answer


def script(stack: RunningStack, *words: str, stdin: str = "") -> Any:
    """Run a script to its end; returns what it printed, read as JSON."""
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**stack.env, "PYTHONPATH": str(ROOT)},
        input=stdin, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + stack.logs()
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def check_facade(told: dict[str, Any], embedding: Any, pool_history: Path) -> None:
    expected = embedding([IDS])["sentence_embedding"][0]
    assert equal(np.array(told["vector"], np.float32), expected)
    assert "input_ids: batch dimension added" in told["filled_in"]
    assert "attention_mask: ones_like:input_ids" in told["filled_in"]
    assert told["backends"] == ["wasm"]
    assert told["selected_by"][:2] == ["caller", "caller"]
    assert told["ran_in"] == told["pinned"]
    assert told["first_alone"] == [told["first_of_its_kind"]] * 6
    assert len(told["one_alone"]) == 6
    assert len(set(told["one_alone"])) == 1, "max_connections is kept where the id is a kind's name"
    assert told["succeeded"] == [True] * 5 + [False] + [True] * 7
    assert (told["error"]["category"], told["error"]["run"]) == ("invalid_input", None)
    words = embedding([[101, word, 102] for word in range(2000, 2012)])["sentence_embedding"]
    assert equal(np.array(told["vectors"], np.float32), words)
    kinds = ["of type text_embedding", "no model named", "unknown parameter speed", "named 'lynx'"]
    assert all(kind in said for kind, said in zip(kinds, told["refused"][:4], strict=True))
    assert "expected max_retries" in told["refused"][4]
    assert f"keeps its history in {pool_history}" in told["refused"][5]
    assert "rung 'prayer': expected one of ping" in told["refused"][6]
    assert len(set(told["standby"])) == 2, "the model is in a second browser too"
    assert equal(np.array(told["accelerated"], np.float32), expected)
    assert told["repair"]["repaired"] is True
    assert [one["rung"] for one in told["repair"]["incidents"]] == ["refresh"]
    assert equal(np.array(told["after_repair"], np.float32), expected)
    assert (told["incident"]["rung"], told["incident"]["category"]) == ("refresh", "operator")
    assert "refresh" in told["rungs"]
    assert told["breakers"][told["pinned"]] == "closed", "a repair closes it"
    assert told["health"]["browsers"][told["pinned"]]["breaker"] == "closed"
    assert told["quarantine"] == [0, True, False]
    metrics = told["metrics"]
    assert (metrics["requests"], metrics["succeeded"], metrics["failed"]) == (23, 22, 1)
    assert metrics["models"]["minilm"]["median_inference_time_ms"] > 0
    assert sum(metrics["shards_by_browser"].values()) == 22
    assert 1 <= len(metrics["connections"]) <= 2
    assert set(metrics["shards_by_browser"]) <= set(metrics["connections"])
    assert told["health"]["status"] == "healthy"
    assert all(browser["state"] == "ready" for browser in told["health"]["browsers"].values())
    assert set(told["telemetry"]["connections"]) == set(told["health"]["browsers"])
    assert "models" not in told["telemetry"]["keys"]
    assert "initialize()" in told["closed"]


def test_the_facade_joins_a_running_pool_and_leaves_it(stack: RunningStack, embedding: Any) -> None:
    told = script(stack, str(SCRIPTS / "facade.py"))
    assert told["started_here"] is False
    check_facade(told, embedding, stack.home / "history" / "history.duckdb")
    assert all(row["live"] for row in stack.browser_rows()), "the pool is still there"


def test_the_facade_starts_a_pool_where_there_is_none_and_stops_it(
    alone: RunningStack, embedding: Any
) -> None:
    told = script(alone, str(SCRIPTS / "facade.py"))
    assert told["started_here"] is True
    check_facade(told, embedding, alone.home / "history" / "history.duckdb")
    assert not alone.wait_gone(timeout_s=5), "close() returned before everything was gone"


def test_the_manager_runs_every_strategy_in_an_asyncio_script(
    stack: RunningStack, embedding: Any
) -> None:
    strategies = ["none", "layer", "attention_feedforward", "tensor", "data", "auto"]
    ids = [IDS, [101, 2003, 102]]
    inputs = json.dumps({"input_ids": ids})
    told = script(stack, str(SCRIPTS / "sharding.py"), "minilm", *strategies, stdin=inputs)
    expected = embedding(ids)
    assert list(told) == strategies
    for strategy, answer in told.items():
        for name, array in expected.items():
            assert equal(np.array(answer["result"][name], np.float32), array), (strategy, name)
        assert answer["same"], strategy
        metrics = answer["metrics"]
        assert metrics["component_count"] == metrics["successful_components"], strategy
        assert "attention_mask: ones_like:input_ids" in metrics["filled_in"]
        assert (answer["summary"]["runs"], answer["summary"]["failed"]) == (3, 0)
        assert all(shard["browser"] for shard in answer["plan"]["shards"]), strategy
        if strategy != "auto":
            assert metrics["shard_type"] == answer["plan"]["strategy"] == strategy
    assert told["auto"]["metrics"]["prediction"]["predicted_ms"] > 0
    assert told["layer"]["metrics"]["component_count"] == 3


@pytest.mark.parametrize(("kind", "end"), [("async", signal.SIGINT), ("sync", signal.SIGKILL)])
def test_nothing_is_left_of_a_script_that_was_interrupted_or_killed(
    alone: RunningStack, kind: str, end: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / "endless.py"), kind], cwd=ROOT,
        env={**alone.env, "PYTHONPATH": str(ROOT), "WEBPOOL_BROWSERS": "chromium-npm"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n", alone.logs()
        process.send_signal(end)
        process.wait(60)
    assert not alone.wait_gone(timeout_s=10)
