"""A response, written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from browsers.core.protocol import WireTensor
from inference.documents import JsonObject
from inference.wire.oip.datatypes import NAMES, type_of_parameter
from inference.wire.oip.tensors import json_data


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
    entries, blobs = [], []
    for tensor, binary in outputs:
        entry: JsonObject = {
            "name": tensor.name,
            "datatype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
        }
        if binary:
            entry["parameters"] = {"binary_data_size": len(tensor.data)}
            blobs.append(tensor.data)
        else:
            entry["data"] = json_data(tensor)
        entries.append(entry)
    document: JsonObject = {"model_name": model, "model_version": version}
    if request_id is not None:
        document["id"] = request_id
    if parameters:
        document["parameters"] = dict(parameters)
    document["outputs"] = entries
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if not any(binary for _, binary in outputs):
        return Encoded(text, None)
    return Encoded(b"".join([text, *blobs]), len(text))
