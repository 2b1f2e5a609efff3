"""wasm gives the same bits in every browser, whole or cut: the promise, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from inference.graph.reference import equal, reference
from tests.support.doors import ask, upload
from tests.support.kinds import KINDS
from tests.support.matrix import FILES, question
from tests.support.stack import RunningStack

# How a file is cut, and where its parts go. `tensor` adds partial sums in another order: never the same.
CUTS = (
    {"strategy": "none"},
    {"strategy": "layer", "shards": 2},
    {"strategy": "layer", "shards": 3},
    {"strategy": "attention_feedforward"},
)
BLOCKLESS = {"clip.similarity"}


_MORE = {"clip.vision_encoder", "clip.similarity", "whisper.encoder", "t5.encoder"}
_LOW = pytest.mark.soak("blocks of 8 and 4 bits: `quantised` is tried")
_EACH_FAMILY = [
    *(
        pytest.param(
            file, "float32", marks=[pytest.mark.soak("another of its family")] * (file in _MORE)
        )
        for file in FILES
    ),
    *(
        pytest.param(file, precision, marks=_LOW)
        for file in ("bert.encoder", "llama.decoder")
        for precision in ("int8", "int4")
    ),
]


@pytest.mark.parametrize(("file", "precision"), _EACH_FAMILY)
def test_wasm_gives_the_same_bits_in_every_browser_whole_or_cut(
    stack: RunningStack,
    client: triton.InferenceServerClient,
    zoo: Path,
    file: str,
    precision: str,
) -> None:
    path, inputs = question(zoo, file, precision)
    cuts = CUTS[:1] if file in BLOCKLESS else CUTS
    found = answers(stack, client, path, f"{file.replace('.', '-')}-{precision}-bits", inputs, cuts)
    all_alike([answer for of_cut in found for answer in of_cut.items()])


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_does_whatever_the_numbers_are(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path, kind: str
) -> None:
    """But float16 is only within each cut: between neighbours onnxruntime's numbers stay float32."""
    path, inputs = KINDS[kind](tmp_path / f"{kind}.onnx")
    found = answers(stack, client, path, f"{kind}-bits", inputs, CUTS[:2])
    if kind == "float16":
        for of_cut in found:
            all_alike(list(of_cut.items()))
    else:
        all_alike([answer for of_cut in found for answer in of_cut.items()])
    native = reference(path, inputs)
    for answer in (answer for of_cut in found for answer in of_cut.values()):
        for name, right in native.items():
            assert equal(np.frombuffer(answer[name], right.dtype).reshape(right.shape), right)


def answers(
    stack: RunningStack,
    client: triton.InferenceServerClient,
    path: Path,
    name: str,
    inputs: dict[str, np.ndarray],
    cuts: Sequence[dict[str, Any]],
) -> list[dict[str, dict[str, bytes]]]:
    """For each cut, by the way it was computed, the bits of each output."""
    registered = upload(stack, path, name)
    assert registered.status in (200, 201), registered.body
    browsers = [row["id"] for row in stack.browser_rows()]
    assert len(browsers) > 2
    found = []
    for cut in cuts:
        places = browsers if cut["strategy"] == "none" else rotated(browsers)
        of_cut = {}
        for place in places:
            got = ask(client, name, inputs, platform="wasm", browsers=place, **cut)
            of_cut[f"{cut} in {place}"] = {output: bits(array) for output, array in got.items()}
        found.append(of_cut)
    return found


def all_alike(answers: Sequence[tuple[str, dict[str, bytes]]]) -> None:
    way, first = answers[0]
    differ = [other for other, answer in answers if answer != first]
    assert not differ, f"{differ} differ from {way}"


def rotated(browsers: list[str]) -> list[str]:
    """Each neighbouring pair, so that every browser computes a first and a second part."""
    return [
        f"{one},{other}" for one, other in zip(browsers, browsers[1:] + browsers[:1], strict=True)
    ]


def bits(array: np.ndarray) -> bytes:
    assert np.isfinite(array).all()
    return (array + 0 if array.dtype.kind == "f" else array).tobytes()  # -0 is 0
