"""An unmodified tritonclient.grpc against the running stack: the answers of /v2/ over HTTP."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as over_http

from tests.integration.test_open_inference import ONNX_TYPES, identity_model
from tests.support.doors import WithKey, upload
from tests.support.pools import GRPC_PORT
from tests.support.stack import RunningStack

EVERY: dict[str, np.ndarray] = {
    "f32": np.array([0.1, np.nan, np.inf], np.float32),
    "f64": np.array([0.1, -0.0], np.float64),
    "i8": np.array([-128, 127], np.int8),
    "u8": np.array([0, 255], np.uint8),
    "i16": np.array([-32768], np.int16),
    "u16": np.array([65535], np.uint16),
    "i32": np.array([-(2**31)], np.int32),
    "u32": np.array([2**32 - 1], np.uint32),
    "i64": np.array([-(2**63), 2**63 - 1], np.int64),
    "u64": np.array([2**64 - 1], np.uint64),
    "f16": np.array([0.1], np.float16),
    "flag": np.array([True, False], np.bool_),
    "text": np.array([b"caf\xc3\xa9", b""], np.object_),
}


@pytest.fixture
def client(stack: RunningStack) -> Any:
    words = stack.manage("create_api_key", f"grpc-{uuid.uuid4().hex[:6]}").stdout.split()
    key = next(word for word in words if word.startswith("wp_"))
    with triton.InferenceServerClient(f"127.0.0.1:{GRPC_PORT}") as made:
        made.register_plugin(WithKey(key))
        yield made


def tensor(kind: Any, name: str, array: np.ndarray) -> Any:
    made = kind.InferInput(name, list(array.shape), kind_of(array))
    made.set_data_from_numpy(array)
    return made


def kind_of(array: np.ndarray) -> str:
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(array.dtype))


def test_every_type_comes_back_to_the_bit(stack: RunningStack, client: Any, tmp_path: Path) -> None:
    upload(stack, identity_model(tmp_path / "identity.onnx"), "identity-grpc")
    assert EVERY.keys() == ONNX_TYPES.keys()
    inputs = [tensor(triton, name, array) for name, array in EVERY.items()]
    answer = client.infer("identity-grpc", inputs, request_id="7")
    assert answer.get_response().id == "7"
    for name, array in EVERY.items():
        back = answer.as_numpy(f"{name}_out")
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes() if name != "text" else list(back) == list(array)


def test_a_model_in_two_shards_answers_as_over_http(stack: RunningStack, client: Any) -> None:
    ids = np.array([[101, 7592, 2088, 102]])
    words = {"strategy": "layer", "shards": 2, "platform": "wasm"}
    answer = client.infer("minilm", [tensor(triton, "input_ids", ids)], parameters=words)
    said = answer.get_response().parameters
    assert said["strategy"].string_param == "layer"
    assert said["shards"].int64_param == 2
    assert len(said["browsers"].string_param.split(",")) == 2
    assert stack.get(f"/api/runs/{said['run'].string_param}/")["state"] == "succeeded"
    http = over_http.InferenceServerClient(f"127.0.0.1:{stack.port}", network_timeout=120)
    same = http.infer("minilm", [tensor(over_http, "input_ids", ids)], parameters=words)
    for name in ("sentence_embedding",):
        np.testing.assert_array_equal(answer.as_numpy(name), same.as_numpy(name))
