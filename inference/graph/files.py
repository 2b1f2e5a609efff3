"""A graph as bytes: written the same each time, kept under its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError

from inference.graph.atomic import atomic_write

_LIMIT = 2**31 - 1  # protobuf's own limit for one message


class InvalidModel(ValueError):
    """The file is no ONNX model that onnxruntime can run; says why and what to do."""


def refuse_large(size: int) -> None:
    if size > _LIMIT:
        raise InvalidModel(
            f"it is {size / 2**30:.1f} GB, more than the 2 GB that one ONNX file can hold with its "
            "weights inside; use smaller or quantised weights"
        )


def serialise(model: onnx.ModelProto) -> bytes:
    """Deterministic bytes.

    Raises:
        InvalidModel: more than protobuf can hold in one file (2 GB).
    """
    refuse_large(model.ByteSize())
    try:
        raw: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InvalidModel(f"it cannot be written as ONNX ({first_line(error)})") from error
    return raw


def store(raw: bytes, folder: Path) -> tuple[str, Path]:
    """Write bytes as an immutable file named by their SHA-256, completely or not at all."""
    sha256 = hashlib.sha256(raw).hexdigest()
    path = folder / sha256
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(raw)
    return sha256, path


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
