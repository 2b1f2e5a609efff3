"""The models that /v1/ can use: those that write text, and those that embed it."""

from __future__ import annotations

from inference.catalog import registry
from inference.core.ports import Port
from inference.documents import JsonObject
from inference.errors import UnknownModel
from inference.models import OnnxModel
from inference.wire.openai.answers import model_document

_EMBEDDING = "sentence_embedding"


def answer(name: str | None) -> JsonObject:
    """One model, or all of them.

    Raises:
        UnknownModel: there is none of that name that can be used here.
    """
    if name is None:
        usable = [model for model in OnnxModel.objects.all() if is_usable(model)]
        return {"object": "list", "data": [_document(model) for model in usable]}
    model = registry.get_model(name)
    if not is_usable(model):
        raise UnknownModel(f"model {name} neither writes text nor embeds it; use it through /v2/")
    return _document(model)


def is_usable(model: OnnxModel) -> bool:
    writes = model.decoder is not None and bool(model.tokenizer)
    return writes or embedding_of(model) is not None


def embedding_of(model: OnnxModel) -> Port | None:
    """The output that is a text's embedding, float32[texts, dimensions]; None: there is none.

    It is called `sentence_embedding`, or is the only one of that form. How the vectors of words become one
    vector is the model's own matter: webpool does not guess it.
    """
    if not model.tokenizer or "input_ids" not in {port.name for port in model.input_ports}:
        return None
    vectors = [p for p in model.output_ports if p.dtype == "float32" and len(p.shape) == 2]
    named = [port for port in vectors if port.name == _EMBEDDING]
    found = named or (vectors if len(model.output_ports) == 1 else [])
    return found[0] if found else None


def _document(model: OnnxModel) -> JsonObject:
    return model_document(model.name, int(model.created_at.timestamp()))
