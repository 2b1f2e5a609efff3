"""Known answers of a plan's files: its steps run one after another on seeded inputs.

There are several cases: normal numbers, small whole ones (ties, zeros), other sizes of dynamic dimensions.
A case to which onnxruntime's own answer is not steady says nothing of others; then other integers are tried.
A file that draws random numbers, takes strings, is too large to be run here, refuses all cases or is steady
in none has no known answer, and the reason is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from browsers.core.answers.known import RULES
from inference.core.generation.stages import Stage, Use
from inference.core.ports import Joined, read_ports
from inference.documents import Array, JsonObject, JsonView
from inference.graph.decoding.reference import filled
from inference.graph.join import join
from inference.graph.model import load, ports
from inference.graph.reference import example_inputs
from inference.graph.runtime import session
from inference.graph.shapes import bind_dims
from inference.graph.spec import TensorSpec
from inference.graph.steps import JoinSpec
from inference.sandbox import archives
from inference.sandbox.answer_file import IN, META, OUT, UNTOLD, packed
from inference.sandbox.frames import Answer
from inference.sandbox.jobs.reading import traits_of
from inference.sandbox.jobs.steadiness import Steadiness

Arrays = dict[str, Array]
_MOST_KEPT: Final = 4_000_000  # bytes of one case of a file, if it is not its first
_MOST_ELEMENTS: Final = 2**26  # in one input; nothing larger is made up
# Of dimensions that are not fixed; deep nets leave nothing of small images.
_SIZES: Final = (4, 8, 64, 224)
_LARGE_ROW: Final = 200_000  # elements of an input's row: of sound, or of a large image
_FEW_ROWS: Final = 3  # of a batch of such rows: not as many as in the case of unlike sizes
_UNLIKE: Final = (2, 3, 5)  # sizes of different dimensions, so that one is not taken for the other


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step of a plan, as far as its answers go; `path` of a compute step's file.

    `inputs` and `outputs` are ports as the database keeps them; `tensor_of`: under which name the plan knows
    each output. `stage` of a decoder's file: its inputs follow from one another.
    """

    sha256: str
    path: str
    inputs: list[JsonObject]
    outputs: list[JsonObject]
    tensor_of: dict[str, str]
    join: list[JsonObject]
    stage: JsonObject | None = None

    def taken(self) -> list[TensorSpec]:
        return [TensorSpec.from_json(port) for port in self.inputs]


def answers(steps: Sequence[JsonView], folder: str) -> Answer:
    """Write `<sha256>.npz` into the folder for each file of the plan.

    Answers with the files whose graph cannot be followed, and why.

    Args:
        steps: in their order, with the fields of `_Step`.
    """
    read = [_Step(**step) for step in steps]
    found = {step.sha256: _Found() for step in read if not step.join}
    paths = {step.sha256: Path(step.path) for step in read if not step.join}
    untold: dict[str, str] = {}
    told = {sha256: _traits(path, sha256, untold) for sha256, path in paths.items()}
    # Casts of negative numbers to unsigned ones differ between processors: such files are not asked for them.
    positive = any(traits["narrows"] for traits in told.values())
    _answer(read, found, positive=positive)
    for sha256, one in found.items():
        _keep(Path(folder) / f"{sha256}.npz", paths[sha256], told[sha256], one)
    return Answer(untold)


@dataclasses.dataclass
class _Case:
    """One question to a whole plan: how its inputs are made, and the tensors so far."""

    seed: int
    size: int
    whole: bool = False
    unlike: bool = False
    positive: bool = False
    wide: bool = False
    rows: frozenset[str] = frozenset()  # dimensions that are batches of large rows
    start: int = 0  # positions before it, of a decoder's step
    values: Arrays = dataclasses.field(default_factory=dict)
    failed: str = ""


@dataclasses.dataclass
class _Found:
    """What is going to be kept of a file."""

    answers: list[tuple[Arrays, Arrays]] = dataclasses.field(default_factory=list)
    why_none: str = ""
    doubt: str = ""  # why an answer that was there says nothing


def _answer(steps: Sequence[_Step], found: Mapping[str, _Found], *, positive: bool) -> None:
    """Fill in the answers; sizes are raised until every file has one."""
    why = ""
    rows = _batches_of_large_rows(steps)
    for size in _SIZES:
        cases = [
            _Case(20, size, positive=positive, rows=rows),
            _Case(
                21,
                size,
                whole=True,
                unlike=size == _SIZES[0],
                positive=positive,
                rows=rows,
                start=3,
            ),
        ]
        if size <= _SIZES[1] and not rows:
            cases.append(_Case(22, size, positive=positive, rows=rows, start=5))
        try:
            _run(steps, cases, found)
            _instead_of_doubtful(
                steps, _Case(23, size, wide=True, positive=positive, rows=rows), found
            )
        except Exception as error:  # a file that cannot be loaded alone, whatever onnxruntime says
            why = why or f"{type(error).__name__}: {str(error)[:300]}"
        why = why or next((case.failed for case in cases if case.failed), "")
        if all(one.answers or one.why_none for one in found.values()):
            return
    for one in found.values():
        if not one.answers:
            one.why_none = one.why_none or f"onnxruntime answers no made-up input: {why}"


def _batches_of_large_rows(steps: Sequence[_Step]) -> frozenset[str]:
    """The dimensions of a plan that come first and nowhere else, where an input's row is large.

    A few such rows take as long as all that there is time for, and show what many would. What a decoder's
    stage takes is of one session.
    """
    ports = [p for step in steps if not step.join and not step.stage for p in step.taken()]
    large = any(
        isinstance(port.shape[0], str)
        and math.prod(d for d in port.shape[1:] if isinstance(d, int)) >= _LARGE_ROW
        for port in ports
        if port.shape
    )
    inner = {d for port in ports for d in port.shape[1:]}
    firsts = {d for port in ports for d in port.shape[:1] if isinstance(d, str)}
    return frozenset(firsts - inner) if large else frozenset()


def _instead_of_doubtful(steps: Sequence[_Step], case: _Case, found: Mapping[str, _Found]) -> None:
    """Ask the case where all answers so far say nothing; what is in doubt still has none."""
    doubtful = [one for one in found.values() if one.doubt and not one.answers]
    if doubtful:
        _run(steps, [case], found)
    for one in doubtful:
        one.why_none = "" if one.answers else one.doubt


def _run(steps: Sequence[_Step], cases: Sequence[_Case], found: Mapping[str, _Found]) -> None:
    for step in steps:
        alive = [case for case in cases if not case.failed]
        if not alive:
            return
        if step.join:
            for case in alive:
                case.values.update(_joined(step, case.values))
            continue
        runtime = session(step.path)  # kept no longer than this
        steadiness = Steadiness(Path(step.path), runtime)
        lacking = not found[step.sha256].answers
        for case in alive:
            try:
                inputs, outputs = _asked(step, case, runtime)
            except Exception as error:  # whatever a graph makes of inputs that nobody meant for it
                case.failed = str(error).splitlines()[0][:300] if str(error) else repr(error)
                continue
            if lacking:
                doubt = "" if step.stage else steadiness.doubt(step.taken(), inputs, outputs)
                _note(found[step.sha256], inputs, outputs, doubt)


def _asked(
    step: _Step, case: _Case, runtime: onnxruntime.InferenceSession
) -> tuple[Arrays, Arrays]:
    """One step's inputs and outputs; what it makes is there for those that follow."""
    taken = {port.name: port.tensor for port in read_ports(step.inputs)}
    missing = [port for port in step.taken() if taken[port.name] not in case.values]
    if missing and step.stage:
        case.values.update(_of_stage(step, missing, case))
    elif missing:
        case.values.update(
            {taken[name]: array for name, array in _made_up(step, missing, case).items()}
        )
    inputs = {name: case.values[tensor] for name, tensor in taken.items() if tensor in case.values}
    names = [port["name"] for port in step.outputs]
    outputs = dict(zip(names, map(np.asarray, runtime.run(names, inputs)), strict=True))
    if not all(array.size for array in outputs.values()):
        raise ValueError("an output is empty: the inputs are too small")
    case.values.update({step.tensor_of[name]: array for name, array in outputs.items()})
    return inputs, outputs


def _made_up(step: _Step, missing: Sequence[TensorSpec], case: _Case) -> Arrays:
    names = sorted({dim for port in missing for dim in port.shape if isinstance(dim, str)})
    sizes = dict.fromkeys(case.rows, _FEW_ROWS)
    if case.unlike:
        sizes = {name: _UNLIKE[i % len(_UNLIKE)] for i, name in enumerate(names)}
    for port in missing:
        shape = [d if isinstance(d, int) else sizes.get(d, case.size) for d in port.shape]
        if math.prod(shape) > _MOST_ELEMENTS:
            raise ValueError(f"its input {port.name!r} of {shape} is too large to be made up")
    made = example_inputs(
        load(Path(step.path)), missing, seed=case.seed, dims=sizes, other=case.size, wide=case.wide
    )
    if case.whole:
        masks = {port.name for port in missing if port.default}
        made = {name: _whole(array, mask=name in masks) for name, array in made.items()}
    if case.positive:
        made = {n: np.abs(a) if a.dtype.kind == "f" else a for n, a in made.items()}
    return made


def _of_stage(step: _Step, missing: Sequence[TensorSpec], case: _Case) -> Arrays:
    """What a decoder's stage takes at one step: a prompt, or one token after `case.start` positions."""
    stage = Stage.from_json(step.stage or {})
    count = 1 if case.start else case.size
    tokens = [0] * count
    names = {item.name for item in stage.inputs if item.use is Use.TOKENS}
    for port in missing:
        if port.name in names:
            port = dataclasses.replace(port, shape=(1, count))
            drawn = example_inputs(load(Path(step.path)), [port], seed=case.seed)
            tokens = [int(token) for token in drawn[port.name].ravel()]
    memory = {item.name for item in stage.inputs if item.use is Use.MEMORY}
    given = _made_up(step, [port for port in missing if port.name in memory], case)
    given = {name: array[:1] for name, array in given.items()}  # of one session
    made = filled(stage, case.start, tokens, {**case.values, **given})
    random = np.random.default_rng(case.seed)
    for state in stage.states:
        shape = list(state.shape)
        shape[state.axis] = case.start
        numbers = random.standard_normal(shape)
        made[state.past] = (np.rint(numbers) if case.whole else numbers).astype(state.dtype)
    return {port.name: made[port.name] for port in missing if port.name in made}


def _whole(array: Array, *, mask: bool) -> Array:
    """Whole numbers for floats; a mask that hides the last token."""
    if array.dtype.kind == "f":
        return np.rint(array).astype(array.dtype)
    if mask and array.ndim and array.shape[-1] > 1:
        array = array.copy()
        array[..., -1] = 1 - array[..., -1]
    return array


def _note(found: _Found, inputs: Arrays, outputs: Arrays, doubt: str) -> None:
    if doubt:
        found.doubt = doubt
        return
    if any(a.dtype == object for a in (*inputs.values(), *outputs.values())):
        found.why_none = "it takes or gives strings"
        return
    size = sum(a.nbytes for a in (*inputs.values(), *outputs.values()))
    if not found.answers or size <= _MOST_KEPT:
        found.answers.append((inputs, outputs))


def _joined(step: _Step, values: JsonView) -> Arrays:
    made: Arrays = {}
    given = {port["name"]: TensorSpec.from_json(port) for port in step.outputs}
    for item in map(Joined.from_json, step.join):
        parts = tuple(part for _, part in item.parts)
        spec = JoinSpec(item.op, item.axis, parts, given[item.tensor])
        made[item.tensor] = join(spec, [values[part] for part in parts])
    return made


def _traits(path: Path, sha256: str, untold: dict[str, str]) -> JsonObject:
    """What the graph tells; of one that cannot be followed, that it may hold every bad form."""
    try:
        return traits_of(path)
    except MemoryError:
        raise
    except Exception as error:  # whatever an odd graph makes of the reader
        untold[sha256] = f"{type(error).__name__}: {str(error)[:300]}"
        return UNTOLD


def _keep(target: Path, path: Path, meta: JsonView, found: _Found) -> None:
    if meta["random"]:
        found.answers.clear()
        found.why_none = f"it draws random numbers ({', '.join(meta['random'])})"
    dims: list[dict[str, int]] = []
    if found.answers:
        taken, _ = ports(load(path))
        dims = [
            bind_dims(taken, {n: a.shape for n, a in inputs.items()}) for inputs, _ in found.answers
        ]
    named = {META: packed({**meta, "rules": RULES, "why_none": found.why_none, "dims": dims})}
    for number, (inputs, outputs) in enumerate(found.answers):
        named |= {f"{number}:{IN}{name}": array for name, array in inputs.items()}
        named |= {f"{number}:{OUT}{name}": array for name, array in outputs.items()}
    with target.open("wb") as file:
        archives.write(file, named)
