"""Two hundred callers at once: none lost, none doubled, none half-stored."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from inference.zoo.micro import chain
from tests.support.callers import SIZE, question, way
from tests.support.doors import JSON, send
from tests.support.faults import add
from tests.support.stack import ROOT, RunningStack

EACH_DOOR = 100


def rows_of(pool: RunningStack, query: str) -> list[tuple[Any, ...]]:
    """Ask the ledger itself."""
    with sqlite3.connect(f"file:{pool.home / 'db.sqlite3'}?mode=ro", uri=True) as ledger:
        return ledger.execute(query).fetchall()


def test_two_hundred_callers_at_once_are_all_answered_right_and_once(
    pair: RunningStack, tmp_path: Path
) -> None:
    pool = pair
    add(pool, chain(tmp_path / "chain.onnx"), "chain")
    together = threading.Barrier(EACH_DOOR)

    def call(number: int) -> tuple[int, str, list[float]]:
        x = question(number)
        tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
        together.wait()
        asked = json.dumps({"inputs": [tensor], "parameters": way(number)})
        told = send(pool, "POST", "/v2/models/chain/infer", asked, JSON)
        assert told.status == 200, told.body
        answer = told.json()
        return number, answer["parameters"]["run"], answer["outputs"][0]["data"]

    python = subprocess.Popen(
        [sys.executable, "-m", "tests.support.callers", "chain", str(EACH_DOOR), str(EACH_DOOR)],
        cwd=ROOT, env=pool.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(EACH_DOOR) as threads:
            answers = list(threads.map(call, range(EACH_DOOR)))
        out, err = python.communicate(timeout=240)
    finally:
        python.kill()
    assert python.returncode == 0, err
    answers += json.loads(out)
    print(f"LOAD {len(answers)} answers in {time.monotonic() - began:.1f} s")

    session = onnxruntime.InferenceSession(
        str(chain(tmp_path / "chain.onnx")), providers=["CPUExecutionProvider"]
    )
    for number, _, flat in answers:
        expected = session.run(None, {"x": question(number)})[0]
        np.testing.assert_allclose(np.reshape(flat, (-1, SIZE)), expected, atol=1e-4)
    runs = {run for _, run, _ in answers}
    assert len(runs) == len(answers) == 2 * EACH_DOOR
    theirs = "model_id = (SELECT id FROM inference_onnxmodel WHERE name = 'chain')"
    assert rows_of(
        pool, f"SELECT state, count(*) FROM inference_run WHERE {theirs} GROUP BY state"
    ) == [("succeeded", 2 * EACH_DOOR)]
    of_them = f"run_id IN (SELECT id FROM inference_run WHERE {theirs})"
    succeeded = Counter(
        shard
        for (shard,) in rows_of(
            pool,
            "SELECT shard_id FROM inference_attempt WHERE outcome = 'succeeded' "
            f"AND shard_id IN (SELECT id FROM inference_runstep WHERE {of_them})",
        )
    )
    shards = [
        shard
        for (shard,) in rows_of(
            pool, f"SELECT id FROM inference_runstep WHERE kind = 'compute' AND {of_them}"
        )
    ]
    assert succeeded == dict.fromkeys(shards, 1)
