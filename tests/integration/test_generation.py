"""Text over stages in real browsers: the tokens that native onnxruntime writes with the uncut decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import decoders
from tests.support.stack import RunningStack

BROWSERS = ("chromium", "firefox", "webkitgtk")
PROMPT = [72, 101, 108, 108, 111, 44, 32]
COUNT = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> decoders.Written:
    return decoders.write(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def greedy(files: decoders.Written) -> list[int]:
    return decoders.greedy(files.onnx, PROMPT, COUNT)


@pytest.fixture(scope="module")
def pool(
    tmp_path_factory: pytest.TempPathFactory, files: decoders.Written
) -> Iterator[RunningStack]:
    running = RunningStack(
        tmp_path_factory.mktemp("generation") / "home",
        browsers=",".join(BROWSERS),
        backends="wasm",
        extra_env={"WEBPOOL_STANDBYS": "0"},
    )
    running.migrate()
    tokenizer = ("--tokenizer", str(files.tokenizer))
    running.manage("add_model", str(files.onnx), "--name", "writer", *tokenizer)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        assert not running.wait_gone(), "processes outlived the stack"


def ask(pool: RunningStack, *options: str, count: int = COUNT, check: bool = True) -> Any:
    tokens = ",".join(map(str, PROMPT))
    done = pool.manage(
        "generate", "writer", "--tokens", tokens, "--max-tokens", str(count), "--json", *options,
        check=check,
    )  # fmt: skip
    return json.loads(done.stdout) if check else done


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_text_is_that_of_the_uncut_decoder(
    pool: RunningStack, greedy: list[int], stages: int
) -> None:
    browsers = BROWSERS[:stages] if stages > 1 else BROWSERS[2:]
    report = ask(pool, "--shards", str(stages), "--browsers", ",".join(browsers))
    assert report["tokens"] == greedy
    assert report["ending"] == "length"
    assert [stage["browser"] for stage in report["stages"]] == list(browsers)
    assert report["recoveries"] == []
