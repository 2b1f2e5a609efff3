"""What /api/schema/ says of /v2/: the operations that callers begin with; the protocol tells the rest."""

from __future__ import annotations

from typing import Final

from inference.documents import JsonObject

_TAG: Final = "v2"
_PROTOCOL: Final = (
    "https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol"
)
_MODEL: Final = {
    "name": "name", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "of a registered model",
}  # fmt: skip
_INTEGERS: Final = {"type": "array", "items": {"type": "integer"}}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape", "data"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "description": "such as FP32, INT64, BYTES"},
        "shape": _INTEGERS,
        "data": {"type": "array", "items": {}, "description": "flat, or nested as the shape"},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
        "parameters": {"type": "object", "description": "how the run goes: strategy, shards …"},
    },
}
_RESPONSE: Final = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
        "parameters": {
            "type": "object",
            "description": "the run, and of each shard the browser and backend that computed it",
        },
    },
}
INFER_EXAMPLE: Final[JsonObject] = {
    "inputs": [
        {"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [101, 7592, 102]}
    ],
    "parameters": {"strategy": "layer", "shards": 2},
}


def _json(schema: JsonObject) -> JsonObject:
    return {"application/json": {"schema": schema}}


PATHS: Final[JsonObject] = {
    "/v2/health/ready": {
        "get": {
            "operationId": "v2_ready",
            "tags": [_TAG],
            "description": "Whether a browser takes work; 503 while none does.",
            "responses": {"200": {"description": "ready", "content": _json({"type": "object"})}},
        }
    },
    "/v2/models/{name}": {
        "get": {
            "operationId": "v2_metadata",
            "tags": [_TAG],
            "description": "Inputs and outputs of a model: names, types and shapes; -1 is any size.",
            "parameters": [_MODEL],
            "responses": {"200": {"description": "metadata", "content": _json({"type": "object"})}},
        }
    },
    "/v2/models/{name}/infer": {
        "post": {
            "operationId": "v2_infer",
            "tags": [_TAG],
            "description": "Compute outputs from inputs, and wait for them.\n\nThe Open Inference Protocol "
            f"({_PROTOCOL}), binary tensors included.",
            "parameters": [_MODEL],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _REQUEST, "example": INFER_EXAMPLE}},
            },
            "responses": {"200": {"description": "the outputs", "content": _json(_RESPONSE)}},
        }
    },
}
