"""gRPC's messages as HTTP's bodies: what is taken, and what is refused before it is built."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from inference.errors import InvalidRequest
from inference.wire.oip import messages
from inference.wire.oip.outline import check_outline
from inference.wire.oip.reading import decode_request

MOST = 16_384
Tensor = pb.ModelInferRequest.InferInputTensor


def infer(*tensors: Any, **more: Any) -> Any:
    return pb.ModelInferRequest(model_name="m", inputs=tensors, **more)


def written(name: str, count: int) -> Any:
    values = pb.InferTensorContents(fp32_contents=[0.5] * count)
    return Tensor(name=name, datatype="FP32", shape=[count], contents=values)


def test_values_written_out_and_raw_are_read_alike() -> None:
    raw = infer(
        Tensor(name="x", datatype="FP32", shape=[3]),
        raw_input_contents=[np.full(3, 0.5, np.float32).tobytes()],
    )
    for message in (raw, infer(written("x", 3))):
        body, length = messages.to_body(
            messages.read(pb.ModelInferRequest, message.SerializeToString())
        )
        (tensor,) = decode_request(body, str(length)).inputs
        assert (tensor.shape, np.frombuffer(tensor.data, np.float32).tolist()) == ((3,), [0.5] * 3)


def test_every_output_is_asked_for_in_binary_form() -> None:
    """An answer of gRPC has no other form, whatever the parameter says."""
    no = pb.InferParameter(bool_param=False)
    wish = pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters={"binary_data": no})
    body, length = messages.to_body(infer(written("x", 1), outputs=[wish]))
    (output,) = json.loads(body[:length])["outputs"]
    assert output["parameters"]["binary_data"] is True
    assert decode_request(body, str(length)).wants_binary("y")


@pytest.mark.parametrize(
    "message",
    [
        infer(written("x", MOST)),
        infer(*(written(f"x{number}", MOST // 8) for number in range(8))),
        infer(*(Tensor(name=f"x{n}", shape=[1] * 32) for n in range(600))),
        infer(Tensor(shape=[1] * 33)),
        infer(parameters={str(n): pb.InferParameter(bool_param=True) for n in range(MOST + 1)}),
        infer(
            Tensor(parameters={str(n): pb.InferParameter(bool_param=True) for n in range(MOST)}),
        ),
        infer(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor()] * (MOST + 1)),
        infer(Tensor(contents=pb.InferTensorContents(bool_contents=[True] * (MOST + 1)))),
    ],
    ids=["values", "tensors", "shapes", "dimensions", "parameters", "input's", "outputs", "others"],
)
def test_what_is_counted_is_counted_over_the_whole_message(message: Any) -> None:
    with pytest.raises(InvalidRequest, match="expected at most"):
        messages.to_body(message)


@pytest.mark.parametrize(
    "message",
    [
        b"\x2a\x00" * (MOST + 1),  # inputs, two bytes each
        b"\x3a\x00" * (MOST + 1),  # raw contents of nothing
        b"\x1a\x80\x80\x20" + b"a" * 2**19,  # a long id
        b"\xaa\x01\x80\x80\x20" + b"a" * 2**19,  # a field that is not known
    ],
    ids=["inputs", "raw", "text", "unknown"],
)
def test_what_is_too_much_is_refused_unbuilt(message: bytes) -> None:
    pb.ModelInferRequest.FromString(message)  # it is one
    with pytest.raises(InvalidRequest, match="fields"):
        check_outline(message, 7)


def test_raw_contents_may_be_large() -> None:
    message = infer(
        Tensor(name="x", datatype="UINT8", shape=[2**20]), raw_input_contents=[bytes(2**20)]
    )
    assert messages.read(pb.ModelInferRequest, message.SerializeToString()) == message


@given(
    st.binary(max_size=64)
    | st.lists(
        st.tuples(
            st.sampled_from(b"\x0a\x12\x1a\x22\x2a\x32\x3a\x08\x39\x3d"), st.binary(max_size=12)
        )
    ).map(lambda fields: b"".join(bytes((tag, len(rest))) + rest for tag, rest in fields))
)
def test_bytes_are_the_message_that_protobuf_reads_or_refused(given_bytes: bytes) -> None:
    read, built = None, None
    with contextlib.suppress(InvalidRequest):
        read = messages.read(pb.ModelInferRequest, given_bytes)
    with contextlib.suppress(DecodeError):
        built = pb.ModelInferRequest.FromString(given_bytes)
    groups = any(byte & 7 in (3, 4) for byte in given_bytes)
    assert read == built or groups
