"""What is kept of a decoder when it is registered: what its graph tells, and what came with it."""

from __future__ import annotations

from inference.catalog.reading import Read
from inference.checkpoints.described import Described
from inference.core.generation.stages import Stage
from inference.documents import JsonObject
from inference.models import OnnxModel


def decoder_document(read: Read, described: Described | None, *, drawn: bool) -> JsonObject | None:
    """`Decoder.to_json` of a file that was read; None: it writes no text. `drawn`: as `registry.add_model`.

    Its summary says why not, of a model with a cache, or how stages are made of its file.

    Raises:
        ValueError: it is described as one that does, and its graph is not; or its context is unknown, or
            tokens that it never writes are none of its own.
    """
    words = described or Described()
    why = read.no_decoder
    if read.decoder is not None:
        context = min(filter(None, (words.context, read.decoder["context"])), default=0)
        why = _without_encoder(Stage.from_json(read.decoder["whole"]), words)
        why = why or _suppressed_wrongly(words, read.decoder["vocabulary"])
        if context and not why:
            return {**_document(read, read.decoder, words, context), "drawn": drawn}
        why = why or (
            "nothing tells how many positions it may hold: a config.json beside it would, or a table of "
            "rotations in its graph"
        )
    if described is not None and (described.claimed or words.encoder):
        raise ValueError(why if read.decoder is not None else _no_decoder(read, words, why))
    if why:
        read.summary["no_decoder"] = why
    return None


def _no_decoder(read: Read, words: Described, why: str) -> str:
    """What was expected of a model that is described as one that writes text, what is there, what to do."""
    inputs = ", ".join(port["name"] for port in read.summary["inputs"]) or "none"
    why = why or (
        "its graph has no cache of keys and values: expected inputs such as past_key_values.0.key with "
        f"outputs such as present.0.key, found the inputs {inputs}"
    )
    kind = f" ({words.architecture}, by its config)" if words.architecture else ""
    instead = (
        ". A folder is added as a language model; add any other model by its .onnx file alone"
        if words.claimed
        else ""
    )
    return f"this model{kind} cannot write text: {why}{instead}"


def _without_encoder(whole: Stage, words: Described) -> str:
    """Why what it takes of an encoder is not there; empty: it is, or it takes nothing."""
    if not whole.memory:
        return f"it takes nothing of an encoder ({words.encoder})" if words.encoder else ""
    if not words.encoder or not words.begins:
        return (
            f"it takes {whole.memory[0]} of an encoder: expected the encoder's name (--encoder) and the "
            "tokens that its texts begin with (--begins)"
        )
    row = OnnxModel.objects.filter(name=words.encoder).first()
    made = {port.name for port in row.output_ports} if row else set[str]()
    if lacking := [name for name in whole.memory if name not in made]:
        return f"its encoder {words.encoder} is not here, or does not make {lacking[0]}"
    return ""


def _suppressed_wrongly(words: Described, vocabulary: int) -> str:
    """Why its tokens that are never written cannot be those; empty: they can."""
    never = {*words.suppress_tokens, *words.begin_suppress_tokens}
    if wrong := [token for token in sorted(never) if not 0 <= token < vocabulary]:
        return (
            f"token {wrong[0]} is listed as never written; expected ids from 0 up to and without the "
            f"{vocabulary} that its logits are of"
        )
    return "all of its tokens are listed as never written" if len(never) == vocabulary else ""


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
        "encoder": words.encoder,
        "begins": list(words.begins),
        "suppress_tokens": list(words.suppress_tokens),
        "begin_suppress_tokens": list(words.begin_suppress_tokens),
    }
