"""docs/tasks.md does what it says: every snippet is run, part by part, as a reader would."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from inference.zoo import minilm, vit, whisper
from inference.zoo.families import FAMILIES
from tests.support import small_models
from tests.support.doors import JSON, send
from tests.support.shared import ROOT
from tests.support.snippets import parts, run
from tests.support.stack import RunningStack

PARTS = parts(ROOT / "docs" / "tasks.md")
RUNS = [name for name, snippets in PARTS.items() if any(s.runs for s in snippets)]


def an_export(folder: Path, stack: RunningStack) -> None:
    (folder / "export").mkdir()
    tokenizer = minilm.build(folder / "export" / "model.onnx")
    (folder / "export" / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def a_picture_and_a_recording(folder: Path, stack: RunningStack) -> None:
    config = vit.VitConfig(image=32, patch=8)
    (built,) = FAMILIES["vit"].build(folder, seed=1, config=config)
    stack.manage("add_model", str(built.path), "--name", "photos", "--type", "vision")
    pixels = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "cat.npz", pixel_values=pixels)
    with wave.open(str(folder / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.arange(800, dtype="<i2").tobytes())


def a_model_of_pictures(folder: Path, stack: RunningStack) -> None:
    (folder / "animals.onnx").write_bytes(small_models.means_of_channels())
    Image.new("RGB", (64, 48), (200, 100, 50)).save(folder / "cat.jpg")


def a_small_whisper(folder: Path, stack: RunningStack) -> None:
    config = whisper.WhisperConfig()
    (folder / "whisper").mkdir()
    for built in FAMILIES["whisper"].build(folder, seed=1, config=config):
        model = onnx.load(built.path)
        for node in model.graph.node:  # as Optimum names it
            node.input[:] = [{"decoder_input_ids": "input_ids"}.get(i, i) for i in node.input]
        for port in model.graph.input:
            port.name = {"decoder_input_ids": "input_ids"}.get(port.name, port.name)
        onnx.save(model, folder / "whisper" / f"{built.role}_model.onnx")
    sound = np.random.default_rng(1).standard_normal((1, config.mels, config.frames))
    np.save(folder / "features.npy", sound.astype(np.float32))


PREPARED: dict[str, Callable[[Path, RunningStack], None]] = {
    "Run my Hugging Face model": an_export,
    "Give it images and sound": a_picture_and_a_recording,
    "Write down speech with Whisper": a_small_whisper,
    "Try a model, and say what it is given": a_model_of_pictures,
}


@pytest.mark.parametrize("part", RUNS)
def test_the_snippets_of_a_part_do_what_they_say(
    stack: RunningStack, tmp_path: Path, part: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    PREPARED.get(part, lambda *_: None)(folder, stack)
    for snippet in PARTS[part]:
        if snippet.runs and snippet.kind in ("sh", "python"):
            print(run(snippet, stack, folder))


def test_the_examples_of_the_schema_are_answered(stack: RunningStack) -> None:
    schema = send(stack, "GET", "/api/schema/?format=json").json()
    tried = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if example := content.get("application/json", {}).get("example"):
                to = path.replace("{name}", "minilm")
                answer = send(stack, method.upper(), to, json.dumps(example), JSON)
                assert answer.status in (200, 202), answer.body
                tried.append(to)
    assert sorted(tried) == [
        "/api/plans/", "/api/runs/", "/v1/embeddings", "/v2/models/minilm/infer",
    ]  # fmt: skip


def test_what_is_not_run_says_why_and_is_the_smaller_part() -> None:
    snippets = [snippet for found in PARTS.values() for snippet in found]
    run_here = [snippet for snippet in snippets if snippet.runs]
    assert len(run_here) > len(snippets) / 2
    assert set(RUNS) >= PREPARED.keys()
    assert {snippet.kind for snippet in snippets} == {"sh", "python", "nginx"}
