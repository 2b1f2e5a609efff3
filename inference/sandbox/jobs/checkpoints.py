"""A stranger's language model, read and written as one ONNX file."""

from __future__ import annotations

from pathlib import Path

from inference.checkpoints.exports import of_file
from inference.checkpoints.reading import Kind, made
from inference.sandbox.frames import Answer


def convert(path: str, kind: str, folder: str, *, floats: bool, tokenizer: bool) -> Answer:
    """`Made` as a document; what is written lies in `folder`.

    Raises:
        ValueError: it cannot be read, and why.
    """
    found = made(Path(path), Kind(kind), Path(folder), floats=floats, tokenizer=tokenizer)
    return Answer(
        {
            "onnx": str(found.onnx),
            "tokenizer": str(found.tokenizer or ""),
            "described": found.described.to_json(),
            "encoder": str(found.encoder or ""),
        }
    )


def beside(path: str) -> Answer:
    """What the files beside an ONNX file tell of it."""
    return Answer(of_file(Path(path)).described.to_json())
