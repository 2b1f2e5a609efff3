"""Strategies × models × browsers × precisions: every case, or a seeded cover of all pairs.

`WEBPOOL_MATRIX=all` (`make matrix`, `make soak`) runs every case. Of a cover in which each pair of values
occurs at least once `make test` runs every second case.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import random
from pathlib import Path

import numpy as np
from allpairspy import AllPairs

from inference.graph.reference import reference
from inference.zoo.families import FAMILIES, Component
from inference.zoo.precision import PRECISIONS

SEED = 20261124
FILES = (
    "bert.encoder", "vit.classifier", "clip.text_encoder", "clip.vision_encoder", "clip.similarity",
    "whisper.encoder", "whisper.decoder", "t5.encoder", "t5.decoder", "llama.decoder",
)  # fmt: skip
CUTS = ("layer", "attention_feedforward", "tensor")
# "data/layer": a batch split over copies of a model cut into layers.
STRATEGIES = ("none", *CUTS, "data", *(f"data/{cut}" for cut in CUTS))
BROWSERS = ("chromium,firefox", "firefox,webkitgtk", "webkitgtk,chromium")
# A file without attention has no parts to alternate; one without a batch has nothing to split.
BLOCKLESS = {"clip.similarity"}


@dataclasses.dataclass(frozen=True)
class Case:
    file: str
    strategy: str
    browsers: str
    precision: str

    def __str__(self) -> str:
        return "-".join(dataclasses.astuple(self)).replace(",", "+")

    @property
    def parameters(self) -> dict[str, object]:
        """How a request asks for it."""
        copies, mixed, cut = self.strategy.partition("/")
        asked: dict[str, object] = {"strategy": cut or copies, "browsers": self.browsers}
        if mixed:
            asked["data_parallel"] = 2
        if asked["strategy"] in ("layer", "tensor", "data"):
            asked["shards"] = 2
        return asked


def cases() -> list[Case]:
    """The cases of this run over single files, in one order."""
    return _chosen([list(FILES), list(STRATEGIES), list(BROWSERS), list(PRECISIONS)])


def _chosen(axes: list[list[str]]) -> list[Case]:
    if os.environ.get("WEBPOOL_MATRIX") == "all":
        return [Case(*values) for values in itertools.product(*axes)]
    for axis in axes:
        random.Random(SEED).shuffle(axis)
    return [Case(*values) for values in AllPairs(axes)][::2]


def component_cases() -> list[Case]:
    """Families of several files, each as one model."""
    several = [name for name, family in FAMILIES.items() if family.links]
    return _chosen([several, ["component"], list(BROWSERS), list(PRECISIONS)])


@functools.cache
def components(folder: Path, family: str, precision: str) -> dict[str, Component]:
    """A family's files by role, built once a run."""
    place = folder / f"{family}-{precision}"
    place.mkdir()
    built = FAMILIES[family].build(place, precision=PRECISIONS[precision], seed=7)
    return {component.role: component for component in built}


@functools.cache
def question(folder: Path, file: str, precision: str) -> tuple[Path, dict[str, np.ndarray]]:
    """A file and inputs for it: the caller's, and what the components before it answer to those."""
    family, _, role = file.partition(".")
    known = FAMILIES[family].example_inputs(5, batch=3)
    made: dict[str, dict[str, np.ndarray]] = {}
    for component in components(folder, family, precision).values():
        taken = {name: made[by][output] for name, (by, output) in component.takes.items()}
        inputs = {**_wanted(component.path, known), **taken}
        if component.role == role:
            return component.path, inputs
        made[component.role] = reference(component.path, inputs)
    raise ValueError(f"{family} has no component {role}")


def _wanted(path: Path, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnx

    names = {item.name for item in onnx.load(path, load_external_data=False).graph.input}
    return {name: array for name, array in known.items() if name in names}
