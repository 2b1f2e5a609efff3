"""Batch jobs in real browsers: every format, every door, equal to onnxruntime and in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.catalog.tokenizer import Tokenizer
from inference.graph.reference import equal, reference
from inference.zoo import micro, minilm
from tests.support.batches import write_jsonl
from tests.support.faults import add
from tests.support.stack import ROOT, RunningStack

COUNT, WIDTH = 300, 64


@pytest.fixture(scope="module")
def chain(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = micro.chain(tmp_path_factory.mktemp("chain") / "chain.onnx", layers=4, size=WIDTH)
    add(stack, path, "batch-chain")
    return path


def rows(count: int = COUNT, seed: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


def run_batch(stack: RunningStack, *args: str, expect: int = 0) -> dict[str, Any]:
    done = stack.manage("run_batch", *args, "--json", check=False)
    assert done.returncode == expect, done.stdout + done.stderr + stack.logs()
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def write(path: Path, x: np.ndarray) -> Path:
    if path.suffix == ".npz":
        savez: Any = np.savez
        savez(path, x=x)
    else:
        write_jsonl(path.with_suffix(".jsonl"), x)
    if path.suffix == ".parquet":
        duckdb.connect().execute(
            f"COPY (SELECT * FROM read_json('{path.with_suffix('.jsonl')}', columns={{'x': 'FLOAT[]'}})) "
            f"TO '{path}' (FORMAT parquet)"
        )
    return path


def read(path: Path) -> tuple[list[int], np.ndarray]:
    """The items' numbers and their results."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return arrays["_item"].tolist(), arrays["y"]
    if path.suffix == ".parquet":
        found = duckdb.connect().execute(f"SELECT _item, y, _error FROM '{path}'").fetchall()
        assert all(error is None for _, _, error in found)
        return [item for item, _, _ in found], np.array([y for _, y, _ in found], np.float32)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["_item"] for line in lines], np.array([line["y"] for line in lines], np.float32)


@pytest.mark.parametrize("extension", ["jsonl", "npz", "parquet"])
def test_three_hundred_items_of_each_format_are_right_and_in_order(
    stack: RunningStack, chain: Path, tmp_path: Path, extension: str
) -> None:
    source = write(tmp_path / f"in.{extension}", rows())
    summary = run_batch(stack, "batch-chain", "--input", str(source))
    assert (summary["state"], summary["items_done"], summary["batches"]) == ("finished", COUNT, 10)
    assert sum(counts["succeeded"] for counts in summary["browsers"].values()) == 10
    assert summary["items_per_s"] > 0
    items, y = read(tmp_path / f"in.out.{extension}")
    assert items == list(range(COUNT))
    assert equal(y, reference(chain, {"x": rows()})["y"])


def test_texts_of_many_lengths_equal_each_text_alone(stack: RunningStack, tmp_path: Path) -> None:
    tokenizer = Tokenizer(
        minilm.build(tmp_path / "minilm.onnx"), ["input_ids", "attention_mask", "token_type_ids"]
    )
    texts = ["Why?", "A cat sleeps on the warm windowsill.", "Shares fell.", "Who?"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    summary = run_batch(
        stack, "minilm", "--input", str(source), "--output", str(tmp_path / "y.npz")
    )
    assert summary["batches"] == 3, "only texts of equal length share a batch"
    with np.load(tmp_path / "y.npz") as got:
        for index, text in enumerate(texts):
            alone = reference(tmp_path / "minilm.onnx", tokenizer.encode([text]))
            assert equal(got["sentence_embedding"][index], alone["sentence_embedding"][0])


def test_a_killed_command_loses_nothing_and_finds_its_job_again(
    stack: RunningStack, chain: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.npz", rows(120, seed=12))
    args = ["run_batch", "batch-chain", "--input", str(source), "--batch-size", "2"]
    command = subprocess.Popen(
        [sys.executable, "manage.py", *args, "--concurrency", "1"],
        cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stderr is not None
    job_id = command.stderr.readline().split()[1].rstrip(":")
    wait_for(stack, job_id, lambda job: job["batches"]["done"] >= 3)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    assert not (tmp_path / "in.out.npz").exists()
    summary = run_batch(stack, *args[1:])
    assert summary["job"] == job_id
    assert summary["state"] == "finished"
    assert summary["items_computed_now"] < 120
    owners = [run["owner"] for run in all_runs(stack, job_id)]
    assert len(owners) == len(set(owners)) == 60, "each batch was sent once"
    items, y = read(tmp_path / "in.out.npz")
    assert items == list(range(120))
    assert equal(y, reference(chain, {"x": rows(120, seed=12)})["y"])


def wait_for(stack: RunningStack, job_id: str, condition: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        job: dict[str, Any] = stack.get(f"/api/batches/{job_id}/")
        if condition(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{job}\n{stack.logs()}")


def all_runs(stack: RunningStack, job_id: str) -> list[dict[str, Any]]:
    runs = stack.get("/api/runs/?limit=1000&model=batch-chain")["results"]
    return [run for run in runs if run["owner"].startswith(f"batch {job_id}/")]


def test_ctrl_c_cancels_and_resume_computes_the_rest(
    stack: RunningStack, chain: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.npz", rows(600, seed=13))
    command = subprocess.Popen(
        [
            sys.executable, "manage.py", "run_batch", "batch-chain", "--input", str(source),
            "--batch-size", "2", "--concurrency", "1",
        ],
        cwd=ROOT, env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stderr is not None
    job_id = command.stderr.readline().split()[1].rstrip(":")
    wait_for(stack, job_id, lambda job: job["batches"]["done"] >= 3)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=180)
    assert command.returncode == 130
    assert f"--resume {job_id}" in said
    at_rest = wait_for(stack, job_id, lambda job: not job["batches"]["running"])
    assert at_rest["state"] == "cancelled"
    assert at_rest["batches"]["waiting"] > 0
    summary = run_batch(stack, "--resume", job_id)
    assert summary["items_computed_now"] == 2 * at_rest["batches"]["waiting"]
    assert equal(read(tmp_path / "in.out.npz")[1], reference(chain, {"x": rows(600, seed=13)})["y"])


def lookup(path: Path) -> Path:
    """`y` = the rows of a table of 8 that `ids` names: an index beyond it fails when it is run."""
    table = numpy_helper.from_array(np.eye(8, dtype=np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 8])],
        [table],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


def test_a_batch_that_fails_in_the_browser_is_reported_and_the_others_are_there(
    stack: RunningStack, tmp_path: Path
) -> None:
    add(stack, lookup(tmp_path / "lookup.onnx"), "lookup")
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"ids": i}) + "\n" for i in (0, 1, 2, 999, 4, 5)))
    args = ["lookup", "--input", str(source), "--batch-size", "2", "--platform", "wasm"]
    summary = run_batch(stack, *args, expect=1)
    assert summary["state"] == "finished with failures"
    assert [failure["items"] for failure in summary["failures"]] == [[2, 3]]
    lines = [json.loads(line) for line in (tmp_path / "in.out.jsonl").read_text().splitlines()]
    assert ["_error" in line for line in lines] == [False, False, True, True, False, False]
    assert lines[5]["y"] == np.eye(8)[5].tolist()
    again = run_batch(stack, *args, "--retry-failed", expect=1)
    assert (again["job"], again["items_computed_now"]) == (summary["job"], 0)


def test_a_bad_file_is_refused_with_line_numbers_before_anything_runs(
    stack: RunningStack, chain: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", rows(3))
    source.write_text(source.read_text() + '{"x": [1, 2]}\n' + "{\n")
    before = stack.get("/api/batches/")["count"]
    done = stack.manage("run_batch", "batch-chain", "--input", str(source), check=False)
    assert done.returncode == 2
    assert "2 items cannot be computed" in done.stderr
    assert "line 4: model batch-chain: input 'x': expected shape" in done.stderr
    assert "line 5: expected JSON" in done.stderr
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload(stack, source, model="batch-chain")
    with refused.value as answer:
        assert answer.code == 400
        assert "line 5: expected JSON" in json.load(answer)["error"]
    assert stack.get("/api/batches/")["count"] == before


def upload(stack: RunningStack, source: Path, **fields: str) -> tuple[int, dict[str, Any]]:
    """POST multipart/form-data; the status and the job."""
    mark = uuid.uuid4().hex
    head = 'Content-Disposition: form-data; name="{}"'
    parts = [f"--{mark}\r\n{head.format(k)}\r\n\r\n{v}\r\n".encode() for k, v in fields.items()]
    named = f'{head.format("file")}; filename="{source.name}"'
    parts.append(f"--{mark}\r\n{named}\r\n\r\n".encode() + source.read_bytes() + b"\r\n")
    request = urllib.request.Request(
        f"{stack.url}/api/batches/",
        b"".join(parts) + f"--{mark}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={mark}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, json.load(answer)


def test_from_upload_to_download_over_rest(
    stack: RunningStack, chain: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.npz", rows(50, seed=14))
    status, job = upload(
        stack, source, model="batch-chain", batch_size="7", browsers="chromium,firefox"
    )
    assert status == 202
    ended = wait_for(stack, job["id"], lambda job: job["state"] != "running")
    assert (ended["state"], ended["items"]["done"], ended["batches"]["done"]) == ("finished", 50, 8)
    assert set(ended["browsers"]) <= {"chromium", "firefox"}
    assert (
        upload(stack, source, model="batch-chain", batch_size="7", browsers="chromium,firefox")[0]
        == 200
    )
    expected = reference(chain, {"x": rows(50, seed=14)})["y"]
    for kind in ("npz", "jsonl", "parquet"):
        path = tmp_path / f"out.{kind}"
        urllib.request.urlretrieve(f"{stack.url}/api/batches/{job['id']}/output/?as={kind}", path)
        items, y = read(path)
        assert items == list(range(50))
        assert equal(y, expected), kind
    listed = stack.get(f"/api/batches/{job['id']}/batches/?limit=3")
    assert [batch["index"] for batch in listed["results"]] == [0, 1, 2]
    with pytest.raises(urllib.error.HTTPError) as ended_already:
        stack.post(f"/api/batches/{job['id']}/cancel/", {})
    with ended_already.value as answer:
        assert answer.code == 409
