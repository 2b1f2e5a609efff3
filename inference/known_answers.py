"""A known answer for every file that browsers load: made with onnxruntime when a model is cut (SPEC R6).

A plan's steps are run one after another on small seeded inputs; of each file its inputs and outputs are kept
beside it, as `known_answers/<sha256>.npz`. Workers ask for them now and then. What cannot be run in this way,
or has a step that is too large to be run, has none: nothing is assumed of it.
"""

from __future__ import annotations

import functools
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from browsers.core.known import KnownAnswer
from browsers.core.protocol import WireTensor
from inference.core.doubts import agree
from inference.models import PlanShard, StepKind
from inference.ports import specs
from inference.tensors import decode_array, encode_array

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray[Any, Any]]
_MOST_BYTES = 1_000_000_000  # of a step's weights: they are in memory while its answer is made
_SIZE = 4  # of every dimension that is not fixed
_SEED = 20
_IN, _OUT = "in:", "out:"


def make(steps: Sequence[PlanShard]) -> None:
    """Make what a plan's files lack; failing that, say so in the log.

    Copies that share a batch have the same files: the first is enough.
    """
    steps = [step for step in steps if step.batch_part in (None, 0)]
    computing = [step for step in steps if step.kind == StepKind.COMPUTE]
    if all(path_of(step.sha256).exists() for step in computing):
        return
    largest = max(computing, key=lambda step: step.weight_bytes)
    if largest.weight_bytes > _MOST_BYTES:
        log.info("no known answers: %s is too large to be run here", largest)
        return
    try:
        _make(steps)
    except Exception as error:  # whatever a graph makes of inputs that nobody meant for it
        log.info("no known answers for the rest of %s: %s", steps[0].plan, error)


def path_of(sha256: str) -> Path:
    path: Path = settings.WEBPOOL_HOME / "known_answers" / f"{sha256}.npz"
    return path


@functools.lru_cache(maxsize=16)
def known_answer(sha256: str) -> KnownAnswer | None:
    """What is kept for a file; None: nothing, or nothing that can be read."""
    try:
        with np.load(path_of(sha256), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError):
        return None
    inputs = {n.removeprefix(_IN): a for n, a in arrays.items() if n.startswith(_IN)}
    outputs = {n.removeprefix(_OUT): a for n, a in arrays.items() if n.startswith(_OUT)}
    return KnownAnswer(
        [encode_array(name, array) for name, array in inputs.items()],
        functools.partial(_confirms, outputs),
    )


def _confirms(expected: Arrays, answer: Sequence[WireTensor]) -> bool:
    got = {tensor.name: decode_array(tensor) for tensor in answer}
    return got.keys() == expected.keys() and all(agree(got[n], expected[n]) for n in expected)


def _make(steps: Sequence[PlanShard]) -> None:
    from inference.graph.model import load, session  # onnx: only where plans are cut
    from inference.graph.reference import example_inputs
    from inference.registry import path_of as file_of

    values: Arrays = {}
    for step in steps:
        if step.kind == StepKind.JOIN:
            values.update(_joined(step, values))
            continue
        ports = specs(step.inputs)
        taken = {p["name"]: p.get("tensor", p["name"]) for p in step.inputs}
        missing = [port for port in ports if taken[port.name] not in values]
        if missing:
            graph = load(file_of(step.sha256))
            made = example_inputs(graph, missing, seed=_SEED, other=_SIZE)
            values.update({taken[name]: array for name, array in made.items()})
        inputs = {name: values[tensor] for name, tensor in taken.items() if tensor in values}
        names = [port["name"] for port in step.outputs]
        made_now = session(str(file_of(step.sha256))).run(names, inputs)  # kept no longer than this
        outputs = dict(zip(names, made_now, strict=True))
        _keep(step.sha256, inputs, outputs)
        values.update({step.tensor_of[name]: array for name, array in outputs.items()})


def _joined(step: PlanShard, values: Mapping[str, Any]) -> Arrays:
    from inference.graph.join import join
    from inference.graph.steps import JoinSpec

    made: Arrays = {}
    ports = {spec.name: spec for spec in specs(step.outputs)}
    for item in step.join:
        parts = tuple(part for _, part in item["parts"])
        spec = JoinSpec(item["op"], item["axis"], parts, ports[item["tensor"]])
        made[item["tensor"]] = join(spec, [values[part] for part in parts])
    return made


def _keep(sha256: str, inputs: Arrays, outputs: Arrays) -> None:
    path = path_of(sha256)
    if path.exists() or any(a.dtype == object for a in (*inputs.values(), *outputs.values())):
        return
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    named = {f"{_IN}{n}": a for n, a in inputs.items()} | {
        f"{_OUT}{n}": a for n, a in outputs.items()
    }
    savez: Any = np.savez  # its stub takes the keyword arrays for its own flag
    with part.open("wb") as file:
        savez(file, **named)
    part.replace(path)
