"""POST /v1/embeddings: a run of a model that embeds text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from browsers.core.failures import Category
from inference.catalog import registry
from inference.catalog.texts import texts_of
from inference.core.ports import Port
from inference.errors import RunFailed
from inference.models import OnnxModel, Run
from inference.runs import creation, serving
from inference.runs.answers import collect, release
from inference.store.tensors import decode_array, encode_array
from inference.views.http import Answer
from inference.views.openai.models import embedding_of
from inference.wire.apart import desk
from inference.wire.openai.apart import Embeddings
from inference.wire.openai.reading import EmbeddingRequest, read_embedding
from inference.wire.openai.refusals import Refused


async def answer(document: object, owner: str) -> Answer:
    """Embed the texts of a request's document.

    Raises:
        WebpoolError: it is refused, or the run ended without an answer.
    """
    asked: list[tuple[EmbeddingRequest, Port, int]] = []

    def create() -> Run:
        request = read_embedding(document)
        model = registry.get_model(request.model)
        port = _port(model, request)
        tensors = registry.tokenizer_of(model).encode(request.texts)
        tokens = _check_whole(model, request.texts, tensors["input_ids"].shape[1])
        asked.append((request, port, tokens))
        return creation.create_run(
            creation.RunRequest(
                model=model.name,
                inputs=[encode_array(name, array) for name, array in tensors.items()],
                owner=owner,
                browsers=request.browsers,
                platform=request.platform,
            ),
            taken=True,
        )

    def finish(run: Run) -> Answer | Embeddings:
        told = _told(run, *asked[0])
        return told if told.is_large else Answer(200, told.encoded())

    ended = await serving.run_to_end(create, finish, release)
    if isinstance(ended, Answer):
        return ended
    return Answer(200, await asyncio.wrap_future(desk().submit(owner, ended.encoded_by)))


def _port(model: OnnxModel, request: EmbeddingRequest) -> Port:
    port = embedding_of(model)
    if port is None:
        raise Refused(
            f"model {model.name} embeds no text: expected a tokenizer, the input input_ids and one output of "
            "the form [texts, dimensions]",
            param="model",
            code="model_not_supported",
        )
    size = port.shape[1]
    if request.dimensions is not None and isinstance(size, int) and request.dimensions != size:
        raise _other_size(model.name, size, request.dimensions)
    return port


def _other_size(model: str, size: int, asked: int) -> Refused:
    return Refused(
        f"dimensions: expected {size}, the size of {model}'s embeddings, or none, got {asked}",
        param="dimensions",
    )


def _check_whole(model: OnnxModel, texts: Sequence[str], taken: int) -> int:
    """How many tokens the texts have; refuses what the model's own tokenizer would cut off."""
    counts = [len(ids) for ids in texts_of(model).encode_all(texts, special=True)]
    for index, count in enumerate(counts):
        if count > taken:
            raise Refused(
                f"input[{index}]: expected a text of at most {taken} tokens, which is all that model "
                f"{model.name} reads, got {count}",
                param="input",
                code="context_length_exceeded",
            )
    return sum(counts)


def _told(run: Run, request: EmbeddingRequest, port: Port, tokens: int) -> Embeddings:
    (tensor,) = collect(run, [port.name])
    vectors = decode_array(tensor)
    if request.dimensions not in (None, vectors.shape[1]):
        raise _other_size(request.model, vectors.shape[1], request.dimensions or 0)
    if not request.base64 and not np.isfinite(vectors).all():
        raise RunFailed(
            f"the embeddings of run {run.pk} have values that are NaN or infinite, which JSON lacks; ask "
            "for encoding_format base64",
            category=Category.NOT_REPRESENTABLE,
            run_id=str(run.pk),
        )
    return Embeddings(request.model, vectors, tokens, request.base64)
