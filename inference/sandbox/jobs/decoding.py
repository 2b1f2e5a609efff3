"""A decoder with a cache: what its graph tells, and its stages written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from inference.documents import JsonObject
from inference.graph.decoding import found, verify, write
from inference.graph.decoding.states import looks_like_one
from inference.graph.model import load
from inference.graph.steps import TooManyShards
from inference.sandbox.frames import Answer


def told(model: onnx.ModelProto, called: Mapping[str, str]) -> JsonObject:
    """`decoder`: layers, ports and sizes, None for any other model; `no_decoder`: why it cannot be used.

    The model is changed in place.
    """
    if not called and not looks_like_one(model):
        return {"decoder": None, "no_decoder": ""}
    try:
        read = found.read(model, called)
    except ValueError as error:
        return {"decoder": None, "no_decoder": str(error)}
    decoder = {
        "layers": read.cutter.max_stages,
        "vocabulary": read.found.vocabulary,
        "state_bytes": read.found.state_bytes,
        "context": read.context,
        "whole": read.found.whole.to_json(),
        "changed": read.changed,
    }
    return {"decoder": decoder, "no_decoder": ""}


def stages(path: str, count: int, called: dict[str, str], folder: str) -> Answer:
    """The stages as fields of `PlanStep`; each names a file in `folder` by its SHA-256.

    They are run natively beside the uncut model, and are refused when they answer otherwise.

    Raises:
        NoDecoder, TooManyShards: it cannot be cut so.
        InvalidModel: the file cannot be read.
    """
    uncut = found.ports_of(load(Path(path)), called)
    read = found.read_file(Path(path), called)
    if count > read.cutter.max_stages:
        raise TooManyShards(count, read.cutter.max_stages)
    written = write.write_stages(read.cutter, count, Path(folder))
    if uncut is not None:
        verify.verify((Path(path), uncut), written, read.found.vocabulary)
    return Answer([_row(one) for one in written])


def _row(written: write.WrittenStage) -> JsonObject:
    file = written.file
    return {
        "index": file.index,
        "group": "layers",
        "cost": file.cost,
        "inputs": [spec.to_json() for spec in file.inputs],
        "outputs": [spec.to_json() for spec in file.outputs],
        "depends_on": list(file.depends_on),
        "crossing_bytes": written.crossing_bytes,
        "sha256": file.sha256,
        "file_bytes": file.bytes,
        "node_count": file.node_count,
        "weight_bytes": file.weight_bytes,
        "copied_bytes": file.copied_bytes,
        "stage": written.stage.to_json(),
    }
