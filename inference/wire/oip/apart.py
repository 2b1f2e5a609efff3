"""Large requests read, and large answers written, in the process that `wire.apart` asks: both sides of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from browsers.core.protocol import WireTensor
from inference.conversion import documents
from inference.conversion.documents import Bounds, check_rest
from inference.documents import Array
from inference.errors import NotJson
from inference.sandbox import Answer
from inference.wire.apart import BODY, Child, bounds, packed
from inference.wire.oip.datatypes import type_of_parameter
from inference.wire.oip.reading import InferRequest, OutputWish, decode_request, json_length
from inference.wire.oip.travelling import arrived, travelling
from inference.wire.oip.writing import Encoded, encode_response

_HERE: Final = "inference.wire.oip.apart"
_MOST_VALUES: Final = 2**24  # as JSON: some twenty characters each


def is_large(content: bytes | bytearray, header_length: str | None) -> bool:
    """Whether the JSON of a request is.

    Raises:
        InvalidRequest: the header says no length.
    """
    return documents.is_large(content, json_length(memoryview(content), header_length))


def decode(child: Child, content: bytes | bytearray, header_length: str | None) -> InferRequest:
    """As `decode_request`, which the child does."""
    length = json_length(memoryview(content), header_length)
    said = child.ask(
        f"{_HERE}:read", {BODY: packed(content)}, header=header_length, bounds=bounds(length)
    )
    found = said.document
    return InferRequest(
        id=found["id"],
        inputs=tuple(arrived(found["inputs"], said.arrays)),
        outputs=tuple(OutputWish(name, binary) for name, binary in found["outputs"]),
        parameters=found["parameters"],
        binary_by_default=found["binary_by_default"],
    )


def read(arrays: Mapping[str, Array], header: str | None, bounds: Mapping[str, int]) -> Answer:
    """In the child: what `decode` makes a request of."""
    request = decode_request(arrays[BODY].data, header, Bounds(**bounds))
    sent = travelling(request.inputs)
    document = {
        "id": request.id,
        "inputs": sent.described,
        "outputs": [[wish.name, wish.binary] for wish in request.outputs],
        "parameters": dict(request.parameters),
        "binary_by_default": request.binary_by_default,
    }
    check_rest(document)
    return Answer(document, sent.arrays)


@dataclasses.dataclass(frozen=True)
class Reply:
    """What `encode_response` takes."""

    model: str
    version: str
    request_id: str | None
    parameters: Mapping[str, type_of_parameter]
    outputs: Sequence[tuple[WireTensor, bool]]

    @property
    def is_large(self) -> bool:
        """Whether its JSON is."""
        told = [tensor for tensor, binary in self.outputs if not binary]
        return (
            self._values > documents.LARGE_VALUES
            or sum(len(tensor.data) for tensor in told) > documents.LARGE_BYTES
        )

    @property
    def _values(self) -> int:
        return sum(math.prod(tensor.shape) for tensor, binary in self.outputs if not binary)

    def encoded(self) -> Encoded:
        """Raises NotJson, as `encode_response`."""
        return encode_response(
            model=self.model,
            version=self.version,
            request_id=self.request_id,
            parameters=self.parameters,
            outputs=self.outputs,
        )

    def encoded_by(self, child: Child) -> Encoded:
        """Raises NotJson, as `encode_response`, and for more values than are written so."""
        if self._values > _MOST_VALUES:
            raise NotJson(
                f"the outputs have {self._values:,} values, of which at most {_MOST_VALUES:,} are written as "
                'JSON; ask for them in binary form: "parameters": {"binary_data_output": true}'
            )
        sent = travelling(tensor for tensor, _ in self.outputs)
        said = child.ask(
            f"{_HERE}:write",
            sent.arrays,
            model=self.model,
            version=self.version,
            request_id=self.request_id,
            parameters=dict(self.parameters),
            outputs=sent.described,
            binary=[binary for _, binary in self.outputs],
        )
        return Encoded(said.arrays[BODY].tobytes(), said.document)


def write(
    arrays: Mapping[str, Array],
    model: str,
    version: str,
    request_id: str | None,
    parameters: Mapping[str, type_of_parameter],
    outputs: Sequence[tuple[str, str, Sequence[int]]],
    binary: Sequence[bool],
) -> Answer:
    """In the child: the body of a response, whose document is the length of its JSON part."""
    tensors = zip(arrived(outputs, arrays), binary, strict=True)
    made = Reply(model, version, request_id, parameters, list(tensors)).encoded()
    return Answer(made.header_length, {BODY: np.frombuffer(made.body, np.uint8)})
