"""A response, written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from browsers.core.protocol import WireTensor
from inference.documents import JsonObject
from inference.wire.oip.datatypes import NAMES, type_of_parameter
from inference.wire.oip.tensors import json_text


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A response body; `header_length` is None when it is JSON alone."""

    body: bytes
    header_length: int | None

    @property
    def content_type(self) -> str:
        return "application/json" if self.header_length is None else "application/octet-stream"


def encode_response(
    *,
    model: str,
    version: str,
    request_id: str | None,
    parameters: Mapping[str, type_of_parameter],
    outputs: Sequence[tuple[WireTensor, bool]],
) -> Encoded:
    """Write a response; each output comes with whether it goes in binary form.

    Raises:
        NotJson: an output that was wanted as JSON has values that JSON lacks.
    """
    entries: list[str] = []
    blobs: list[bytes | memoryview] = []
    for tensor, binary in outputs:
        entry: JsonObject = {
            "name": tensor.name,
            "datatype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
        }
        if binary:
            entry["parameters"] = {"binary_data_size": len(tensor.data)}
            blobs.append(tensor.data)
            entries.append(_json(entry))
        else:
            entries.append(_and_last(entry, "data", json_text(tensor)))
    document: JsonObject = {"model_name": model, "model_version": version}
    if request_id is not None:
        document["id"] = request_id
    if parameters:
        document["parameters"] = dict(parameters)
    text = _and_last(document, "outputs", f"[{','.join(entries)}]").encode()
    if not any(binary for _, binary in outputs):
        return Encoded(text, None)
    return Encoded(b"".join([text, *blobs]), len(text))


def _json(document: JsonObject) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _and_last(document: JsonObject, name: str, text: str) -> str:
    """A document that is not empty, with a last member whose value is written already."""
    return f'{_json(document)[:-1]},"{name}":{text}}}'
