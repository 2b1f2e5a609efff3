"""What a reader of the docs has before the snippets of a part: files in their folder, models in the pool."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto
from onnx.helper import make_node, make_tensor_value_info
from PIL import Image

from inference.zoo import micro, minilm
from tests.support import decoders, gguf_files, listeners, listening_exports, small_models
from tests.support.shared import ROOT
from tests.support.snippets import parts
from tests.support.stack import RunningStack

Prepare = Callable[[Path, RunningStack], None]


def nothing(folder: Path, stack: RunningStack) -> None:
    pass


def an_export(folder: Path, stack: RunningStack) -> None:
    (folder / "export").mkdir()
    tokenizer = minilm.build(folder / "export" / "model.onnx")
    (folder / "export" / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def a_picture_and_a_recording(folder: Path, stack: RunningStack) -> None:
    (folder / "photos.onnx").write_bytes(_means("pixel_values"))
    stack.manage("add_model", str(folder / "photos.onnx"), "--name", "photos", "--type", "vision")
    _picture(folder)
    with wave.open(str(folder / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.arange(800, dtype="<i2").tobytes())


def a_model_of_pictures(folder: Path, stack: RunningStack) -> None:
    (folder / "animals.onnx").write_bytes(small_models.means_of_channels())
    _picture(folder)


def a_small_whisper(folder: Path, stack: RunningStack) -> None:
    listening_exports.write(folder / "whisper", "whisper", merged=False)
    sound = np.random.default_rng(1).standard_normal((1, listeners.MELS, listeners.FRAMES))
    np.save(folder / "features.npy", sound.astype(np.float32))
    (folder / "talk.wav").write_bytes(listeners.sound(0.2, 16_000, "WAV")[0])


def a_whisper_and_a_writer(folder: Path, stack: RunningStack) -> None:
    listening_exports.write(folder / "whisper-tiny", "whisper", merged=True)
    stack.manage("shell", "-c", decoders.registered(decoders.write(folder)))


def a_model(folder: Path, stack: RunningStack) -> None:
    micro.chain(folder / "model.onnx")


def photos(folder: Path, stack: RunningStack) -> None:
    a_model_of_pictures(folder, stack)
    declared = {
        "inputs": {"pixels": {"image": {"width": 32, "height": 32}}},
        "outputs": {"scores": {"labels": ["red", "green", "blue"]}},
    }
    (folder / "webpool.json").write_text(json.dumps(declared))
    stack.manage("add_model", str(folder / "animals.onnx"), "--name", "photos", "--type", "vision")


def three_files(folder: Path, stack: RunningStack) -> None:
    """Components as the manifest that docs/api.md shows wires them, and that manifest."""
    shown = parts(ROOT / "docs" / "api.md")["Models of several files"]
    (folder / "clip.json").write_text(next(each.text for each in shown if each.kind == "json"))
    (folder / "vision.onnx").write_bytes(_means("pixel_values", "pooled"))
    (folder / "text.onnx").write_bytes(
        small_models.model(
            [make_node("Cast", ["input_ids"], ["pooled"], to=TensorProto.FLOAT)],
            [make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 3])],
            [make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", 3])],
        )
    )
    ports = [make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "aby"]
    add = make_node("Add", ["a", "b"], ["y"])
    (folder / "fusion.onnx").write_bytes(small_models.model([add], ports[:2], ports[2:]))


def models_of_a_terminal(folder: Path, stack: RunningStack) -> None:
    three_files(folder, stack)
    tokenizer = minilm.build(folder / "my.onnx")
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    np.savez(
        folder / "x.npz",
        input_ids=np.ones((1, 3), np.int64),
        pixel_values=np.ones((1, 3, 2, 2), np.float32),
    )
    gguf_files.write(folder / "SmolLM2-135M-Instruct.Q4_1.gguf")


def items(folder: Path, stack: RunningStack) -> None:
    (folder / "texts.jsonl").write_text('{"text": "a cat"}\n{"text": "a dog"}\n' * 10)
    micro.chain(folder / "mine.onnx", size=4)
    stack.manage("add_model", str(folder / "mine.onnx"), "--name", "mine", "--type", "vision")
    np.savez(folder / "x.npz", x=np.ones((8, 4), np.float32))


def a_key(folder: Path, stack: RunningStack) -> None:
    stack.manage("create_api_key", "laptop")


def _means(taken: str, given: str = "scores") -> bytes:
    return small_models.model(
        [make_node("ReduceMean", [taken], [given], axes=[2, 3], keepdims=0)],
        [make_tensor_value_info(taken, TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [make_tensor_value_info(given, TensorProto.FLOAT, ["batch", 3])],
    )


def _picture(folder: Path) -> None:
    Image.new("RGB", (64, 48), (200, 100, 50)).save(folder / "cat.jpg")


PREPARED: Mapping[tuple[str, str], Prepare] = {
    ("docs/api.md", "/v1/: OpenAI's protocol"): a_whisper_and_a_writer,
    ("docs/api.md", "/api/: the pool"): a_model,
    ("docs/api.md", "From another machine"): photos,
    ("docs/api.md", "Models of several files"): three_files,
    ("docs/operations.md", "Models"): models_of_a_terminal,
    ("docs/operations.md", "Batch jobs"): items,
    ("docs/operations.md", "Look and act from a terminal"): a_key,
    ("docs/tasks.md", "Run my Hugging Face model"): an_export,
    ("docs/tasks.md", "Give it images and sound"): a_picture_and_a_recording,
    ("docs/tasks.md", "Write down speech with Whisper"): a_small_whisper,
    ("docs/tasks.md", "Try a model, and say what it is given"): a_model_of_pictures,
}
