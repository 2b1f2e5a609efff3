"""A request, read: its JSON, its parameters, its tensors and which outputs it wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from browsers.core.protocol import WireTensor
from inference.conversion.documents import Bounds, parse
from inference.documents import JsonView
from inference.errors import InvalidRequest
from inference.wire.oip.datatypes import HEADER_LENGTH, kind_of, type_of_parameter
from inference.wire.oip.tensors import declared, from_binary, from_json

_MOST_DIGITS = 20  # of a length in bytes


@dataclasses.dataclass(frozen=True)
class OutputWish:
    """One entry of a request's `outputs`; `binary` is None where the request leaves it open."""

    name: str
    binary: bool | None


@dataclasses.dataclass(frozen=True)
class InferRequest:
    """A decoded request: `outputs` empty means all of them."""

    id: str | None
    inputs: tuple[WireTensor, ...]
    outputs: tuple[OutputWish, ...]
    parameters: Mapping[str, type_of_parameter]
    binary_by_default: bool

    def wants_binary(self, name: str) -> bool:
        for wish in self.outputs:
            if wish.name == name and wish.binary is not None:
                return wish.binary
        return self.binary_by_default


def decode_request(
    body: bytes | bytearray | memoryview, header_length: str | None, bounds: Bounds | None = None
) -> InferRequest:
    """Read an inference request; `header_length` is the header of that name, or None; `bounds` as `parse`.

    Raises:
        InvalidRequest: it is not one; the message says what was expected and what came.
    """
    view = memoryview(body)
    at = json_length(view, header_length)
    document = parse(view[:at], bounds)
    if not isinstance(document, dict):
        raise InvalidRequest(f"expected a JSON object, got {kind_of(document)}")
    parameters = _parameters(document, "the request")
    entries = document.get("inputs")
    if not isinstance(entries, list):
        raise InvalidRequest(
            f"'inputs': expected a list of tensors, got {kind_of(entries, missing='inputs' not in document)}"
        )
    inputs, at = _inputs(entries, view, at)
    if at != len(view):
        raise InvalidRequest(
            f"the body has {len(view)} bytes, but its JSON and the binary tensors it names make {at}; "
            f"check binary_data_size and {HEADER_LENGTH}"
        )
    by_default = parameters.pop("binary_data_output", False)
    if not isinstance(by_default, bool):
        raise InvalidRequest(
            f"parameter binary_data_output: expected true or false, got {by_default!r:.200}"
        )
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequest(f"'id': expected a string, got {kind_of(request_id)}")
    return InferRequest(request_id, inputs, _output_wishes(document), parameters, by_default)


def json_length(view: memoryview, header: str | None) -> int:
    """How many bytes of a body are its JSON.

    Raises:
        InvalidRequest: the header says no such number.
    """
    if header is None:
        return len(view)
    digits = header.isascii() and header.isdigit() and len(header) <= _MOST_DIGITS
    if not digits or int(header) > len(view):
        raise InvalidRequest(
            f"{HEADER_LENGTH}: expected the length of the JSON part, at most {len(view)} bytes (the "
            f"whole body), got {header!r:.60}"
        )
    return int(header)


def _inputs(entries: list[object], view: memoryview, at: int) -> tuple[tuple[WireTensor, ...], int]:
    tensors: list[WireTensor] = []
    names: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            raise InvalidRequest(f"'inputs': expected objects, got {kind_of(entry)}")
        name, dtype, shape = declared(entry)
        if name in names:
            raise InvalidRequest(f"input {name!r:.200} is given twice")
        names.add(name)
        size = _binary_size(name, _parameters(entry, f"input {name!r:.200}"))
        if (size is None) == ("data" not in entry):
            raise InvalidRequest(
                f"input {name!r:.200}: expected either 'data' or the parameter 'binary_data_size', got "
                + ("neither" if size is None else "both")
            )
        if size is None:
            tensors.append(from_json(name, dtype, shape, entry["data"]))
            continue
        if size > len(view) - at:
            raise InvalidRequest(
                f"input {name!r:.200}: binary_data_size is {size} bytes, but only {len(view) - at} follow "
                f"(the body has {len(view)} bytes); check binary_data_size and {HEADER_LENGTH}"
            )
        tensors.append(from_binary(name, dtype, shape, view[at : at + size]))
        at += size
    return tuple(tensors), at


def _parameters(entry: JsonView, where: str) -> dict[str, type_of_parameter]:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequest(
            f"'parameters' of {where}: expected an object, got {kind_of(parameters)}"
        )
    for key, value in parameters.items():
        if not isinstance(value, (str, int, float, bool)):
            raise InvalidRequest(
                f"parameter {key!r:.200} of {where}: expected a string, a number or true/false, got "
                f"{kind_of(value)}"
            )
        if key.startswith("shared_memory"):
            raise InvalidRequest(
                f"parameter {key!r:.99} of {where}: shared memory is not supported; send it in the body"
            )
    return dict(parameters)


def _binary_size(name: str, parameters: Mapping[str, type_of_parameter]) -> int | None:
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidRequest(
            f"input {name!r:.200}: binary_data_size: expected a number of bytes, got {size!r:.200}"
        )
    return size


def _output_wishes(document: JsonView) -> tuple[OutputWish, ...]:
    entries = document.get("outputs", [])
    if not isinstance(entries, list):
        raise InvalidRequest(f"'outputs': expected a list, got {kind_of(entries)}")
    wishes: list[OutputWish] = []
    names: set[str] = set()
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise InvalidRequest("'outputs': expected objects with a name")
        if name in names:
            raise InvalidRequest(f"output {name!r:.200} is asked for twice")
        names.add(name)
        parameters = _parameters(entry, f"output {name!r:.200}")
        if parameters.get("classification"):
            raise InvalidRequest(
                f"output {name!r:.99}: the classification extension is not supported; ask for the tensor and "
                "take its largest elements"
            )
        binary = parameters.get("binary_data")
        if binary is not None and not isinstance(binary, bool):
            raise InvalidRequest(
                f"output {name!r:.200}: binary_data: expected true or false, got {binary!r:.200}"
            )
        wishes.append(OutputWish(name, binary))
    return tuple(wishes)
