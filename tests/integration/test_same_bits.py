"""wasm gives the same bits in every browser, whole or cut: the promise, and where it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.support.doors import ask, upload
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
_EACH_FAMILY = [
    pytest.param(file, marks=pytest.mark.soak("another of its family")) if file in _MORE else file
    for file in FILES
]


@pytest.mark.parametrize("file", _EACH_FAMILY)
def test_wasm_gives_the_same_bits_in_every_browser_whole_or_cut(
    stack: RunningStack, client: triton.InferenceServerClient, zoo: Path, file: str
) -> None:
    path, inputs = question(zoo, file, "float32")
    name = f"{file.replace('.', '-')}-bits"
    registered = upload(stack, path, name)
    assert registered.status in (200, 201), registered.body
    browsers = [row["id"] for row in stack.browser_rows()]
    assert len(browsers) > 2
    found: dict[str, dict[str, bytes]] = {}
    for cut in CUTS:
        if cut["strategy"] != "none" and file in BLOCKLESS:
            continue
        places = browsers if cut["strategy"] == "none" else rotated(browsers)
        for place in places:
            got = ask(client, name, inputs, platform="wasm", browsers=place, **cut)
            found[f"{cut} in {place}"] = {output: bits(array) for output, array in got.items()}
    first = next(iter(found.values()))
    differ = [way for way, answer in found.items() if answer != first]
    assert not differ, f"{differ} differ from {next(iter(found))}"


def rotated(browsers: list[str]) -> list[str]:
    """Each neighbouring pair, so that every browser computes a first and a second part."""
    return [
        f"{one},{other}" for one, other in zip(browsers, browsers[1:] + browsers[:1], strict=True)
    ]


def bits(array: np.ndarray) -> bytes:
    assert np.isfinite(array).all()
    return (array + 0 if array.dtype.kind == "f" else array).tobytes()  # -0 is 0
