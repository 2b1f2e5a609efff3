"""What the cells of a comparison are asked, and what their answers are held against."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from browsers.core.answers.known import Known
from inference import sandbox
from inference.catalog import known_answers, plans
from inference.comparisons import storage
from inference.comparisons.storage import Question
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.models import OnnxModel, Strategy
from inference.sandbox.answer_file import IN, OUT
from inference.store.files import path_of
from inference.store.tensors import WireTensor, decode_array


@dataclasses.dataclass(frozen=True)
class Reference:
    """A question, the file that answers it, and what is known of that file.

    `version` of native onnxruntime.
    """

    question: Question
    sha256: str
    known: Known
    version: str

    @property
    def not_judged(self) -> str:
        """Why no answer can be held against the reference; empty: each can."""
        return self.known.why_none if self.known.random else ""

    def to_json(self) -> JsonObject:
        return {
            "onnxruntime": self.version,
            "sha256": self.sha256,
            "tolerance": self.known.tolerance,
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
    _, steps = plans.cached_plan(model, Strategy.NONE, 1)
    sha256 = steps[0].sha256
    known = known_answers.known(sha256)
    dims = {} if rows is None else _dims(model, rows)
    arrays = None
    if known_answer:
        if not known.answers:
            raise InvalidRequest(f"model {model.name} has no known answer: {known.why_none}")
        inputs = known.answers[0].inputs
    if inputs is not None:
        arrays = {tensor.name: decode_array(tensor) for tensor in inputs}
    path = path_of(sha256)
    try:
        answer = sandbox.ask(
            "compare",
            reads=[path],
            arrays=arrays,
            path=str(path),
            inputs=model.inputs,
            seed=seed,
            dims=dims,
        )
    except sandbox.Refused as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    question = Question(storage.tensors(answer.arrays, IN), storage.tensors(answer.arrays, OUT))
    return Reference(question, sha256, known, answer.document["onnxruntime"])


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
