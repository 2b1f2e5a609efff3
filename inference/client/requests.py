"""From a script's words to a request for a run."""

from __future__ import annotations

from inference.catalog import registry
from inference.documents import JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.runs.inputs import from_python
from inference.runs.requests import RunRequest

OWNER = "python"


def check_type(model: OnnxModel, model_type: str | None) -> None:
    """Refuse a type that is not the registered one; None is any.

    Raises:
        InvalidRequest: names both.
    """
    if model_type is not None and model_type != model.model_type:
        raise InvalidRequest(f"model {model.name} is of type {model.model_type}, not {model_type}")


def request_for(name: str, inputs: JsonView, options: JsonView) -> RunRequest:
    """A request of plain lists or arrays; `options` are fields of `RunRequest`.

    Raises:
        UnknownModel, InvalidRequest: as the registry, and as inputs are read.
    """
    prepared = from_python(registry.current_model(name), inputs)
    return RunRequest(
        model=name,
        inputs=prepared.tensors,
        filled_in=tuple(prepared.filled_in),
        owner=OWNER,
        **options,
    )
