"""The inputs of a run as /api/runs/ takes them: nested lists by name, the protocol's tensors, or texts."""

from __future__ import annotations

from collections.abc import Sequence

from inference.catalog import registry
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.runs.inputs import from_python
from inference.store.tensors import WireTensor
from inference.wire.oip.tensors import decode_json_tensor


def inputs_of(model: OnnxModel, given: JsonObject) -> tuple[Sequence[WireTensor], tuple[str, ...]]:
    """The tensors that were sent, and what was added to them, one sentence each.

    Raises:
        InvalidRequest: neither or both of `inputs` and `texts`, or what their values cannot be.
    """
    if ("inputs" in given) == ("texts" in given):
        raise InvalidRequest("expected either 'inputs' or 'texts'")
    if "texts" in given:
        texts = given["texts"]
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise InvalidRequest(f"'texts': expected a list of strings, got {texts!r:.100}")
        return _prepared(model, registry.tokenizer_of(model).encode(texts), json=False)
    inputs = given["inputs"]
    if isinstance(inputs, list):
        return [_tensor(entry) for entry in inputs], ()
    if isinstance(inputs, dict):
        return _prepared(model, inputs, json=True)
    raise InvalidRequest("'inputs': expected an object of name → nested list, or a list of tensors")


def _tensor(entry: object) -> WireTensor:
    """One that is a tensor already came in a large body."""
    return entry if isinstance(entry, WireTensor) else decode_json_tensor(entry)


def _prepared(
    model: OnnxModel, inputs: JsonView, *, json: bool
) -> tuple[Sequence[WireTensor], tuple[str, ...]]:
    prepared = from_python(model, inputs, json=json)
    return prepared.tensors, tuple(prepared.filled_in)
