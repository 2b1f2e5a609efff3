"""The Open Inference Protocol's codec: what goes in comes out, and what cannot be right says why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from browsers.core.protocol import WireTensor, pack_strings, unpack_strings
from inference.errors import InvalidRequest, NotJson
from inference.wire.oip.datatypes import NAMES
from inference.wire.oip.reading import decode_request
from inference.wire.oip.tensors import json_text
from inference.wire.oip.writing import Encoded, encode_response

NUMERIC = [dtype for dtype in NAMES if dtype != "string"]


def body(*inputs: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def tensor(data: Any, shape: Any, datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": "x", "shape": shape, "datatype": datatype, "data": data, **more}


def decode_one(entry: Mapping[str, Any]) -> WireTensor:
    return decode_request(body(entry), None).inputs[0]


def arrays(dtypes: list[str]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(
            dtype, shapes, elements={"allow_nan": False, "allow_infinity": False}
            if dtype.startswith("float") else None,
        )
    )  # fmt: skip


@given(arrays(NUMERIC), st.booleans(), st.booleans())
def test_every_number_survives_both_ways(
    array: np.ndarray[Any, Any], binary: bool, nested: bool
) -> None:
    wire = WireTensor("x", array.dtype.name, array.shape, array.tobytes())
    sent = encode_response(
        model="m", version="1", request_id="7", parameters={}, outputs=[(wire, binary)]
    )
    length = len(sent.body) if sent.header_length is None else sent.header_length
    document = json.loads(sent.body[:length])
    entry = document["outputs"][0]
    assert document["id"] == "7"
    if nested and not binary:
        entry["data"] = array.tolist()
    text = json.dumps({"inputs": [entry]}).encode()
    header = str(len(text)) if binary else None
    (back,) = decode_request(text + sent.body[length:], header).inputs
    assert (back.dtype, back.shape) == (wire.dtype, wire.shape)
    assert bytes(back.data) == wire.data


@pytest.mark.parametrize(("datatype", "bits"), [("float16", np.uint16), ("float32", np.uint32)])
def test_floats_in_json_read_as_fp64_and_rounded_are_the_same_bits(
    datatype: str, bits: Any
) -> None:
    sent = np.random.default_rng(3).integers(0, np.iinfo(bits).max, 50_000, bits, endpoint=True)
    array = sent.view(datatype)
    # The last one has no shorter name that a reader of FP64 rounds to it.
    more = np.array([0.0, -0.0, 3.0, 0.1, 7.038531e-26], np.float64).astype(datatype)
    array = np.append(array[np.isfinite(array)], more)
    text = json_text(WireTensor("x", datatype, array.shape, array.tobytes()))
    values = json.loads(text)
    assert (np.array(values).astype(datatype).view(bits) == array.view(bits)).all()
    assert all(type(value) is float for value in values)  # none that a caller reads as an integer


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=5
    ),
    st.booleans(),
)
def test_every_string_survives_both_ways(items: list[str], binary: bool) -> None:
    wire = WireTensor("x", "string", (len(items),), pack_strings(items))
    sent = encode_response(
        model="m", version="1", request_id=None, parameters={}, outputs=[(wire, binary)]
    )
    length = len(sent.body) if sent.header_length is None else sent.header_length
    entry = json.loads(sent.body[:length])["outputs"][0]
    text = json.dumps({"inputs": [entry]}).encode()
    (back,) = decode_request(text + sent.body[length:], str(len(text)) if binary else None).inputs
    assert unpack_strings(back.data) == items


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 250).map(str), st.text()))
def test_garbage_is_refused_and_never_crashes(raw: bytes, header: str | None) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(raw, header)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (tensor([1, 2, 3], [2]), "expected 2 elements"),
        (tensor([[1, 2], [3]], [2, 2]), "ragged"),
        (tensor([[1, 2], [3, 4]], [4]), "got data of shape [2, 2]"),
        (tensor([1.5], [1], "INT32"), "to 2147483647; got 1.5 at [0]"),
        (tensor([True], [1], "INT32"), "whole numbers from -2147483648 to 2147483647; got true"),
        (tensor([1, True], [2], "INT32"), "got true at [1]"),
        (tensor([1.5, True], [2]), "got true at [1]"),
        (tensor([[1], [300]], [2, 1], "UINT8"), "from 0 to 255; got 300 at [1, 0]"),
        (tensor([-1], [1], "UINT64"), "from 0 to"),
        (tensor([2**64], [1], "UINT64"), "from 0 to"),
        (tensor([2], [1], "BOOL"), "bool: true and false, or 1 and 0; got 2"),
        (tensor([1.0], [1], "BOOL"), "true and false"),
        (tensor([1e39], [1]), "at most 3.403e+38"),
        (tensor([70000], [1], "FP16"), "at most 6.55e+04"),
        (tensor([2**24 + 1], [1]), "the nearest it holds is 16777216"),
        (tensor([2**53 + 1], [1], "FP64"), "the nearest it holds is 9007199254740992"),
        (tensor(["1"], [1]), "got '1' at [0]"),
        (tensor([None], [1]), "got null at [0]"),
        (tensor([1], [1], "BYTES"), "string: text in UTF-8 without NUL characters; got 1 at [0]"),
        (tensor(["a\0b"], [1], "BYTES"), "got 'a\\x00b' at [0]"),
        (tensor(["\ud800"], [1], "BYTES"), "no form in UTF-8"),
        (
            tensor([["a"], ["b", "c"]], [2], "BYTES"),
            "ragged: a list of 1 at [0], but a list of 2 at [1]",
        ),
        (
            tensor([[["a"]], ["b"]], [2], "BYTES"),
            "ragged: a list of 1 at [0, 0], but a single value",
        ),
        (tensor({"a": 1}, [1], "BYTES"), "got an object"),
        (tensor({"a": 1}, [1]), "got an object"),
        (tensor([1], [1], "BF16"), "BF16 is not supported"),
        (tensor([1], [1], "FLOAT"), "expected a datatype among"),
        (tensor([1], [-1]), "expected a shape"),
        (tensor([1], [True]), "expected a shape"),
        (tensor([], [0, 10**30]), "expected a shape"),
        (tensor([1], "1"), "expected a shape"),
        ({"name": "x", "shape": [1], "datatype": "FP32"}, "got neither"),
        (tensor([1], [1], parameters={"binary_data_size": 4}), "got both"),
        (tensor([1], [1], parameters={"shared_memory_region": "r"}), "shared memory"),
        (tensor([1], [1], parameters={"p": [1]}), "expected a string, a number"),
        (tensor([1], [1], name=""), "expected a name"),
    ],
)
def test_a_tensor_that_cannot_be_right(entry: Mapping[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_one(entry)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "shape", "values"),
    [
        (tensor(5, []), (), [5.0]),
        (tensor([5], []), (), [5.0]),
        (tensor([], [0, 3]), (0, 3), []),
        (tensor([[]], [1, 0], "INT64"), (1, 0), []),
        (tensor([2**64 - 1, 0], [2], "UINT64"), (2,), [2**64 - 1, 0]),
        (tensor([-(2**63), 2**63 - 1], [2], "INT64"), (2,), [-(2**63), 2**63 - 1]),
        (tensor([1, 0], [2], "BOOL"), (2,), [True, False]),
        (tensor([0.1], [1], "FP16"), (1,), [float(np.float16(0.1))]),
        (tensor([590295810358705700000], [1], "FP64"), (1,), [2.0**69]),
        (tensor([123456790], [1]), (1,), [123456792.0]),
    ],
)
def test_forms_of_data(entry: Mapping[str, Any], shape: tuple[int, ...], values: list[Any]) -> None:
    wire = decode_one(entry)
    assert wire.shape == shape
    assert np.frombuffer(wire.data, wire.dtype).tolist() == values


def binary(size: int, shape: list[int], datatype: str = "FP32", name: str = "x") -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
    }


@pytest.mark.parametrize(
    ("entries", "raw", "says"),
    [
        ([binary(8, [2])], bytes(4), "only 4 follow"),
        ([binary(8, [2])], bytes(12), "check binary_data_size"),
        ([binary(8, [3])], bytes(8), "is 12 bytes, got 8"),
        ([binary(-1, [2])], b"", "expected a number of bytes"),
        ([binary(2, [2, 1], "BOOL")], b"\1\2", "bytes 0 or 1 for BOOL, got 2 at [1, 0]"),
        ([binary(5, [1], "BYTES")], b"\3\0\0\0a", "past the end"),
        ([binary(3, [1], "BYTES")], b"\3\0\0", "past the end"),
        ([binary(5, [2], "BYTES")], b"\1\0\0\0a", "expected 2 elements"),
        ([binary(5, [1], "BYTES")], b"\1\0\0\0\xff", "no form in UTF-8"),
        ([binary(7, [1, 1], "BYTES")], b"\3\0\0\0a\0b", "got b'a\\x00b' at [0, 0]"),
        ([binary(4, [1]), binary(4, [1])], bytes(8), "given twice"),
    ],
)
def test_sizes_that_do_not_add_up(entries: list[dict[str, Any]], raw: bytes, says: str) -> None:
    text = body(*entries)
    with pytest.raises(InvalidRequest) as caught:
        decode_request(text + raw, str(len(text)))
    assert says in str(caught.value)


def test_json_and_binary_tensors_in_one_request() -> None:
    text = body(binary(4, [1], "INT32", "a"), tensor([1], [1]), binary(1, [1], "INT8", "b"))
    request = decode_request(text + b"\5\0\0\0\7", str(len(text)))
    assert [(t.name, bytes(t.data)) for t in request.inputs] == [
        ("a", b"\5\0\0\0"), ("x", b"\0\0\x80?"), ("b", b"\7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "header", "says"),
    [
        (b"", None, "expected JSON"),
        (b"[]", None, "expected a JSON object, got a list"),
        (b"{}", None, "'inputs': expected a list of tensors, got nothing"),
        (b'{"inputs": [1]}', None, "expected objects, got a number"),
        (b'{"inputs": [], "id": 3}', None, "'id': expected a string"),
        (b'{"inputs": [], "outputs": [{"name": "y"}, {"name": "y"}]}', None, "asked for twice"),
        (b'{"inputs": [], "outputs": [{}]}', None, "objects with a name"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', None, "true or false"),
        (b'{"inputs": []}', "15", "at most 14 bytes"),
        (b'{"inputs": []}', "-1", "got '-1'"),
        (b'{"inputs": []}', "1" * 5000, "at most 14 bytes"),
        (
            b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1e400]}]}',
            None,
            "got inf",
        ),
        (b'{"inputs": [{"data": [NaN]}]}', None, "JSON has neither NaN nor infinity"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'{"inputs": "\xff"}', None, "expected JSON in UTF-8"),
    ],
)
def test_a_request_that_cannot_be_right(raw: bytes, header: str | None, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(raw, header)
    assert says in str(caught.value)


def test_classification_is_refused() -> None:
    asked = [{"name": "y", "parameters": {"classification": 3}}]
    with pytest.raises(InvalidRequest, match="classification extension is not supported"):
        decode_request(body(outputs=asked), None)


def test_the_form_of_each_output_is_the_callers_choice() -> None:
    asked = [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    request = decode_request(body(outputs=asked, parameters={"binary_data_output": True}), None)
    assert [request.wants_binary(name) for name in "ab"] == [False, True]
    assert "binary_data_output" not in request.parameters


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_lacks_is_refused_as_json_and_passes_as_binary(value: float) -> None:
    wire = WireTensor("y", "float32", (2,), np.array([1, value], np.float32).tobytes())

    def encode(as_binary: bool) -> Encoded:
        return encode_response(
            model="m", version="1", request_id=None, parameters={}, outputs=[(wire, as_binary)]
        )

    with pytest.raises(NotJson, match="has 1 values that are NaN or infinite"):
        encode(False)
    assert encode(True).body.endswith(wire.data)


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_an_empty_tensor_takes_any_empty_list_and_nothing_else(datatype: str) -> None:
    empty: list[Any] = [[], [[]], [[], []]]
    for data in empty:
        assert bytes(decode_one(tensor(data, [2, 0, 3], datatype)).data) == b""
    wrong: list[Any] = [([1], [0]), ([], [1]), ([[]], [1, 1])]
    for data, shape in wrong:
        with pytest.raises(InvalidRequest):
            decode_one(tensor(data, shape, datatype))
