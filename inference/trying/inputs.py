"""From what a person typed or dropped to a model's tensors; files are read in the sandbox."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from django.conf import settings

from inference import sandbox
from inference.catalog import registry
from inference.core.expectations import Picture, Sound
from inference.documents import Array, JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.runs.inputs import Prepared, from_python
from inference.trying.fields import Field, Kind
from inference.wire.bodies import named_values


@dataclasses.dataclass(frozen=True)
class Given:
    """What came: texts, files by the input's name, tensors as a file (npz or JSON) or as JSON in a text.

    Attributes:
        forms: by input, a picture's form in place of the model's own.
    """

    texts: Sequence[str] = ()
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    tensors: bytes = b""
    forms: Mapping[str, Picture] = dataclasses.field(default_factory=dict)


def prepared(model: OnnxModel, fields: Sequence[Field], given: Given, owner: str) -> Prepared:
    """The tensors that a run takes.

    Raises:
        InvalidRequest: something is missing, or no such picture, sound, text or tensor.
    """
    if given.tensors:
        return of_file(model, given.tensors, owner)
    if [field.kind for field in fields] == [Kind.TEXT]:
        if not any(given.texts):
            raise InvalidRequest("text: expected a text, got none")
        return from_python(model, registry.tokenizer_of(model).encode(list(given.texts)))
    names = [field.name for field in fields]
    if unknown := sorted(set(given.files) - set(names)):
        raise InvalidRequest(f"{unknown[0]}: expected files for {', '.join(names)}")
    arrays: JsonObject = {}
    for field in fields:
        if field.name not in given.files:
            what = "tensors" if field.kind == Kind.TENSOR else f"a {field.kind}"
            raise InvalidRequest(f"{field.name}: expected {what}, got nothing")
        arrays[field.name] = _read(
            field.name, given.forms.get(field.name) or field.form, given.files[field.name]
        )
    return from_python(model, arrays)


def _read(name: str, form: Picture | Sound | None, raw: bytes) -> object:
    if form is None:
        raise InvalidRequest(f"{name}: expected tensors (npz or JSON with all inputs)")
    job = "picture" if isinstance(form, Picture) else "sound"
    return _asked(job, name, raw, vars(form))["values"]


def _asked(job: str, name: str, raw: bytes, words: JsonView) -> Mapping[str, Array]:
    try:
        file = np.frombuffer(raw, np.uint8)
        answer = sandbox.ask(job, places=sandbox.MEDIA, arrays={"file": file}, **words)
    except sandbox.Refused as error:
        raise InvalidRequest(f"{name}: {error}") from error
    return answer.arrays


def of_file(model: OnnxModel, raw: bytes, owner: str) -> Prepared:
    """The arrays of an npz, or of a JSON object of name → nested list, as the model's inputs.

    Raises:
        InvalidRequest: it is neither, or they are not what the model takes.
    """
    if raw.startswith(b"PK"):
        limit = {"most_bytes": settings.WEBPOOL_MAX_REQUEST_MB * 2**20}
        return from_python(model, _asked("arrays", "tensors", raw, limit))
    try:
        document = named_values(owner, model, raw)
    except InvalidRequest as error:
        raise InvalidRequest(f"tensors: it is no npz file, and as JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"tensors: expected an object of name → list, got {document!r:.100}")
    return from_python(model, document, json=True)
