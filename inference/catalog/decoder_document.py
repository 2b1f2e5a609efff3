"""What is kept of a decoder when it is registered: what its graph tells, and what came with it."""

from __future__ import annotations

from inference.catalog.reading import Read
from inference.checkpoints.described import Described
from inference.documents import JsonObject


def decoder_document(read: Read, described: Described | None) -> JsonObject | None:
    """`Decoder.to_json` of a file that was read; None: it writes no text.

    Its summary says why not, of a model with a cache, or how stages are made of its file.

    Raises:
        ValueError: it is described as one that does, and its graph is not; or its context is unknown.
    """
    words = described or Described()
    why = read.no_decoder
    if read.decoder is not None:
        context = min(filter(None, (words.context, read.decoder["context"])), default=0)
        if context:
            return _document(read, read.decoder, words, context)
        why = (
            "nothing tells how many positions it may hold: a config.json beside it would, or a table of "
            "rotations in its graph"
        )
    if described is not None and described.claimed:
        raise ValueError(why or "its graph has no cache of keys and values")
    if why:
        read.summary["no_decoder"] = why
    return None


def _document(read: Read, found: JsonObject, words: Described, context: int) -> JsonObject:
    read.summary["decoding"] = {
        "changed": found["changed"],
        "called": dict(words.called),
        "notes": list(words.notes),
    }
    return {
        "architecture": words.architecture,
        "layers": found["layers"],
        "vocabulary": found["vocabulary"],
        "context": context,
        "stop_tokens": list(words.stop_tokens),
        "chat_template": words.chat_template,
        "special": dict(words.special),
        "state_bytes": found["state_bytes"],
        "whole": found["whole"],
    }
