"""What is known of every file that browsers load: onnxruntime's answers, and what no answer shows.

Found out when a model is cut, and kept beside its files as `known_answers/<sha256>.npz`:

1. A plan's steps are run one after another on seeded inputs; each file's inputs and outputs are kept. There
   are several cases: normal numbers, small whole ones (ties, zeros), other sizes of its dynamic dimensions.
2. A file that draws random numbers, takes strings, is too large to be run here or refuses all cases has
   none, and the reason is kept: nothing is assumed of it.
3. Its traits (`graph/forms.py`) say for which backends answers to some cases prove nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.conf import settings

from browsers.core.answers.agreement import HALF, SINGLE, varies
from browsers.core.answers.bad_forms import BAD_FORMS
from browsers.core.answers.known import RULES, Known, KnownAnswer
from inference.graph.shapes import bind_dims
from inference.models import PlanShard, StepKind
from inference.store.ports import specs
from inference.store.tensors import encode_array

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray[Any, Any]]
_MOST_BYTES: Final = (
    1_000_000_000  # of a step's weights: they are in memory while its answer is made
)
_MOST_KEPT: Final = 4_000_000  # bytes of one case of a file, if it is not its first
_SIZES: Final = (
    4,
    8,
    64,
    224,
)  # of dimensions that are not fixed; deep nets leave nothing of small images
_UNLIKE: Final = (2, 3, 5)  # sizes of different dimensions, so that one is not taken for the other
_IN, _OUT, _META = "in:", "out:", "meta"
_NOT_KEPT: Final = "none was kept"
_MOST_REMEMBERED: Final = 256
_KNOWN: dict[str, Known] = {}


@dataclasses.dataclass
class _Case:
    """One question to a whole plan: how its inputs are made, and the tensors so far."""

    seed: int
    size: int
    whole: bool = False
    unlike: bool = False
    positive: bool = False
    values: Arrays = dataclasses.field(default_factory=dict)
    failed: str = ""


@dataclasses.dataclass
class _Found:
    """What is going to be kept of a file."""

    answers: list[tuple[Arrays, Arrays]] = dataclasses.field(default_factory=list)
    why_none: str = ""


def make(steps: Sequence[PlanShard]) -> None:
    """Find out what of a plan's files is not known yet.

    Copies that share a batch have the same files: the first is enough.
    """
    steps = [step for step in steps if step.batch_part in (None, 0)]
    computing = [step for step in steps if step.kind == StepKind.COMPUTE]
    if all(path_of(step.sha256).exists() for step in computing):
        return
    found = {step.sha256: _Found() for step in computing}
    largest = max(computing, key=lambda step: step.weight_bytes)
    if largest.weight_bytes > _MOST_BYTES:
        why = (
            f"{largest} has {largest.weight_bytes / 1e9:.1f} GB of weights, too much to be run here"
        )
        found = {sha256: _Found(why_none=why) for sha256 in found}
    else:
        _answer(steps, found)
    for sha256, one in found.items():
        _keep(sha256, one)


def path_of(sha256: str) -> Path:
    path: Path = settings.WEBPOOL_HOME / "known_answers" / f"{sha256}.npz"
    return path


def known(sha256: str) -> Known:
    """What is known of a file; of one that nothing was kept of, what the file itself tells."""
    found = _KNOWN.get(sha256)
    if found is None:
        found = _known(sha256)
        if not found.why_none.startswith(_NOT_KEPT):  # it may be there the next time
            _KNOWN[sha256] = found
            while len(_KNOWN) > _MOST_REMEMBERED:
                del _KNOWN[next(iter(_KNOWN))]
    return found


def _known(sha256: str) -> Known:
    try:
        with np.load(path_of(sha256), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        if json.loads(arrays[_META].tobytes())["rules"] == RULES:
            return _read(arrays)
        why = f"{_NOT_KEPT} by these rules; cut the model anew"
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("no known answers of %s can be read: %s", sha256, error)
        why = f"{_NOT_KEPT} ({type(error).__name__})"
    return _read({_META: _packed(_traits(sha256) | {"why_none": why})})


# --- asking onnxruntime ----------------------------------------------------------------------------


def _answer(steps: Sequence[PlanShard], found: Mapping[str, _Found]) -> None:
    """Fill in the answers; sizes are raised until every file has one."""
    why = ""
    # Casts of negative numbers to unsigned ones differ between processors: such files are not asked for them.
    positive = any(_traits(sha256)["narrows"] for sha256 in found)
    for size in _SIZES:
        cases = [
            _Case(20, size, positive=positive),
            _Case(21, size, whole=True, unlike=size == _SIZES[0], positive=positive),
        ]
        if size <= _SIZES[1]:
            cases.append(_Case(22, size, positive=positive))
        try:
            _run(steps, cases, found)
        except Exception as error:  # a file that cannot be loaded alone, whatever onnxruntime says
            why = why or f"{type(error).__name__}: {str(error)[:300]}"
        why = why or next((case.failed for case in cases if case.failed), "")
        if all(one.answers or one.why_none for one in found.values()):
            return
    for one in found.values():
        if not one.answers:
            one.why_none = one.why_none or f"onnxruntime answers no made-up input: {why}"


def _run(steps: Sequence[PlanShard], cases: Sequence[_Case], found: Mapping[str, _Found]) -> None:
    from inference.graph.runtime import session  # onnx: only where plans are cut
    from inference.store.files import path_of as file_of

    for step in steps:
        alive = [case for case in cases if not case.failed]
        if not alive:
            return
        if step.kind == StepKind.JOIN:
            for case in alive:
                case.values.update(_joined(step, case.values))
            continue
        runtime = session(str(file_of(step.sha256)))  # kept no longer than this
        lacking = not found[step.sha256].answers
        for case in alive:
            try:
                inputs, outputs = _asked(step, case, runtime)
            except Exception as error:  # whatever a graph makes of inputs that nobody meant for it
                case.failed = str(error).splitlines()[0][:300] if str(error) else repr(error)
                continue
            if lacking:
                _note(found[step.sha256], inputs, outputs)


def _asked(step: PlanShard, case: _Case, runtime: Any) -> tuple[Arrays, Arrays]:
    """One step's inputs and outputs; what it makes is there for those that follow."""
    taken = {port.name: port.tensor for port in step.input_ports}
    missing = [port for port in specs(step.inputs) if taken[port.name] not in case.values]
    if missing:
        case.values.update(
            {taken[name]: array for name, array in _made_up(step, missing, case).items()}
        )
    inputs = {name: case.values[tensor] for name, tensor in taken.items() if tensor in case.values}
    names = [port.name for port in step.output_ports]
    outputs = dict(zip(names, map(np.asarray, runtime.run(names, inputs)), strict=True))
    if not all(array.size for array in outputs.values()):
        raise ValueError("an output is empty: the inputs are too small")
    case.values.update({step.tensor_of[name]: array for name, array in outputs.items()})
    return inputs, outputs


def _made_up(step: PlanShard, missing: Sequence[Any], case: _Case) -> Arrays:
    from inference.graph.model import load
    from inference.graph.reference import example_inputs
    from inference.store.files import path_of as file_of

    names = sorted({dim for port in missing for dim in port.shape if isinstance(dim, str)})
    sizes = {name: _UNLIKE[i % len(_UNLIKE)] for i, name in enumerate(names)} if case.unlike else {}
    made = example_inputs(
        load(file_of(step.sha256)), missing, seed=case.seed, dims=sizes, other=case.size
    )
    if case.whole:
        masks = {port.name for port in missing if port.default}
        made = {name: _whole(array, mask=name in masks) for name, array in made.items()}
    if case.positive:
        made = {n: np.abs(a) if a.dtype.kind == "f" else a for n, a in made.items()}
    return made


def _whole(array: np.ndarray[Any, Any], *, mask: bool) -> np.ndarray[Any, Any]:
    """Whole numbers for floats; a mask that hides the last token."""
    if array.dtype.kind == "f":
        return np.rint(array).astype(array.dtype)
    if mask and array.ndim and array.shape[-1] > 1:
        array = array.copy()
        array[..., -1] = 1 - array[..., -1]
    return array


def _note(found: _Found, inputs: Arrays, outputs: Arrays) -> None:
    if any(a.dtype == object for a in (*inputs.values(), *outputs.values())):
        found.why_none = "it takes or gives strings"
        return
    size = sum(a.nbytes for a in (*inputs.values(), *outputs.values()))
    if not found.answers or size <= _MOST_KEPT:
        found.answers.append((inputs, outputs))


def _joined(step: PlanShard, values: Mapping[str, Any]) -> Arrays:
    from inference.graph.join import join
    from inference.graph.steps import JoinSpec

    made: Arrays = {}
    ports = {spec.name: spec for spec in specs(step.outputs)}
    for item in step.joined:
        parts = tuple(part for _, part in item.parts)
        spec = JoinSpec(item.op, item.axis, parts, ports[item.tensor])
        made[item.tensor] = join(spec, [values[part] for part in parts])
    return made


# --- keeping and reading ---------------------------------------------------------------------------


def _traits(sha256: str) -> dict[str, Any]:
    """What the graph tells; of one that cannot be followed, that it may hold every bad form."""
    try:
        return _read_traits(sha256)
    except Exception as error:  # whatever an odd graph makes of the reader
        log.warning("the graph of %s cannot be followed: %s", sha256, error)
        return {
            "forms": sorted(BAD_FORMS), "index_limits": {}, "random": [], "halves": False, "narrows": True,
        }  # fmt: skip


def _read_traits(sha256: str) -> dict[str, Any]:
    from inference.graph.forms import traits
    from inference.graph.model import load
    from inference.store.files import path_of as file_of

    found = traits(load(file_of(sha256)))
    return {
        "forms": sorted(found.forms),
        "index_limits": dict(found.index_limits),
        "random": list(found.random),
        "halves": found.halves,
        "narrows": found.narrows,
    }


def _keep(sha256: str, found: _Found) -> None:
    path = path_of(sha256)
    if path.exists():
        return
    meta = _traits(sha256)
    if meta["random"]:
        found.answers.clear()
        found.why_none = f"it draws random numbers ({', '.join(meta['random'])})"
    if found.why_none:
        log.info("no known answer for %s: %s", sha256, found.why_none)
    named = {
        _META: _packed(
            meta | {"rules": RULES, "why_none": found.why_none, "dims": _dims(sha256, found)}
        )
    }
    for number, (inputs, outputs) in enumerate(found.answers):
        named |= {f"{number}:{_IN}{name}": array for name, array in inputs.items()}
        named |= {f"{number}:{_OUT}{name}": array for name, array in outputs.items()}
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    savez: Any = np.savez  # its stub takes the keyword arrays for its own flag
    with part.open("wb") as file:
        savez(file, **named)
    part.replace(path)


def _dims(sha256: str, found: _Found) -> list[dict[str, int]]:
    """The sizes of the symbolic dimensions in each case."""
    from inference.graph.model import load, ports
    from inference.store.files import path_of as file_of

    if not found.answers:
        return []
    taken, _ = ports(load(file_of(sha256)))
    return [
        bind_dims(taken, {n: a.shape for n, a in inputs.items()}) for inputs, _ in found.answers
    ]


def _packed(meta: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(json.dumps(meta).encode(), np.uint8)


def _read(arrays: Arrays) -> Known:
    meta = json.loads(arrays.pop(_META).tobytes())
    answers = tuple(
        KnownAnswer(_tensors(arrays, f"{number}:{_IN}"), _tensors(arrays, f"{number}:{_OUT}"), dims)
        for number, dims in enumerate(meta.get("dims", []))
    )
    outputs = {tensor.name for answer in answers for tensor in answer.outputs}
    return Known(
        answers=answers,
        why_none=meta["why_none"],
        random=bool(meta["random"]),
        constant=tuple(sorted(outputs - varies([answer.outputs for answer in answers]))),
        forms=frozenset(meta["forms"]),
        index_limits=meta["index_limits"],
        narrows=bool(meta["narrows"]),
        tolerance=HALF if meta["halves"] else SINGLE,
    )


def _tensors(arrays: Arrays, start: str) -> list[Any]:
    return [
        encode_array(name.removeprefix(start), array)
        for name, array in arrays.items()
        if name.startswith(start)
    ]
