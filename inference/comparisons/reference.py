"""What the cells of a comparison are asked, and what their answers are held against."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from browsers.core.answers.known import Known
from inference import sandbox
from inference.catalog import known_answers
from inference.catalog.component_plan import default_strategy
from inference.comparisons import storage, ways
from inference.comparisons.storage import Question
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.models import OnnxModel, PlanStep
from inference.sandbox.answer_file import IN, OUT
from inference.store.files import path_of
from inference.store.tensors import WireTensor, decode_array


@dataclasses.dataclass(frozen=True)
class File:
    """A file of the model, and what is known of it.

    Attributes:
        name: of the component; empty: it is the whole model.
        taken: its inputs → the names under which the model knows them.
    """

    name: str
    taken: Mapping[str, str]
    known: Known

    def told(self, fact: str) -> str:
        """The fact, with the component that it is of."""
        return f"{self.name}: {fact}" if self.name else fact


@dataclasses.dataclass(frozen=True)
class Reference:
    """A question, and the files that answer it; `version` of native onnxruntime.

    `doubt`: why its answer is no measure; empty: nothing speaks against it.
    """

    question: Question
    files: Sequence[File]
    version: str
    doubt: str

    @property
    def not_judged(self) -> str:
        """Why no answer can be held against the reference; empty: each can."""
        random = (file for file in self.files if file.known.random)
        return next((file.told(file.known.why_none) for file in random), self.doubt)

    @property
    def tolerance(self) -> float:
        """That of the file that is computed least exactly."""
        return max(file.known.tolerance for file in self.files)

    def to_json(self) -> JsonObject:
        return {
            "onnxruntime": self.version,
            "tolerance": self.tolerance,
            "not_judged": self.not_judged,
            "output_sha256": digest(self.question.outputs),
            "outputs": [
                {**told(tensor), "sha256": hashlib.sha256(tensor.data).hexdigest()}
                for tensor in self.question.outputs
            ],
        }


def find(
    model: OnnxModel,
    inputs: Sequence[WireTensor] | None,
    *,
    known_answer: bool,
    rows: int | None,
    seed: int,
) -> Reference:
    """Have native onnxruntime answer the given inputs, the model's known ones, or random ones.

    Raises:
        InvalidRequest: there is no known answer, or onnxruntime takes no such inputs; says why.
    """
    steps = ways.shards_of(model, ways.Way(default_strategy(model, None), None))
    files = [_file(step) for step in steps]
    dims = {} if rows is None else _dims(model, rows)
    arrays = None
    if known_answer:
        inputs = _known_inputs(model, files)
    if inputs is not None:
        arrays = {tensor.name: decode_array(tensor) for tensor in inputs}
    paths = [path_of(step.sha256) for step in steps]
    told_files = [
        {"path": str(path), "inputs": step.inputs, "outputs": step.outputs}
        for path, step in zip(paths, steps, strict=True)
    ]
    try:
        answer = sandbox.ask(
            "compare",
            reads=sorted(set(paths)),
            arrays=arrays,
            files=told_files,
            inputs=model.inputs,
            outputs=model.outputs,
            seed=seed,
            dims=dims,
        )
    except sandbox.Refused as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    question = Question(storage.tensors(answer.arrays, IN), storage.tensors(answer.arrays, OUT))
    return Reference(question, files, answer.document["onnxruntime"], answer.document["doubt"])


def _file(step: PlanStep) -> File:
    taken = {port.name: port.tensor for port in step.input_ports}
    return File(step.group, taken, known_answers.known(step.sha256))


def _known_inputs(model: OnnxModel, files: Sequence[File]) -> Sequence[WireTensor]:
    """Raises InvalidRequest: there are none."""
    known = files[0].known
    if model.components:
        why = "it is of several files, and what is known is of each alone"
    elif not known.answers:
        why = known.why_none
    else:
        return known.answers[0].inputs
    raise InvalidRequest(f"model {model.name} has no known answer: {why}")


def _dims(model: OnnxModel, rows: int) -> dict[str, int]:
    """The batch: the free first axis of the inputs that a batch may be split over, else of all."""
    ports = [port for port in model.input_ports if port.name in model.batch.inputs]
    firsts = [port.shape[0] for port in ports or model.input_ports if port.shape]
    dims = {dim: rows for dim in firsts if isinstance(dim, str)}
    if not dims:
        raise InvalidRequest(
            f"rows {rows}: no input of {model.name} has a free first axis; leave rows out"
        )
    return dims


def digest(tensors: Sequence[WireTensor]) -> str:
    """SHA-256 of all outputs: the same bits, the same digest."""
    found = hashlib.sha256()
    for tensor in sorted(tensors, key=lambda one: one.name):
        found.update(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.data)
    return found.hexdigest()


def told(tensor: WireTensor) -> JsonObject:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
