"""What /api/schema/ says of /v1/: the fields that requests are read by; of answers the outline."""

from __future__ import annotations

from typing import Final

from inference.documents import JsonObject
from inference.runs.option_kinds import Choice, Flag, Kind, Names
from inference.wire.openai.fields import Endpoint, Field, fields_of
from inference.wire.openai.kinds import (
    MOST_BIAS,
    MOST_BIASES,
    MOST_STOP_CHARACTERS,
    MOST_STOPS,
    MOST_TOKEN,
    Biases,
    Count,
    Form,
    Language,
    Number,
    Only,
    Stops,
    StreamOptions,
    Text,
    Tokens,
    Words,
)

_TAG: Final = "v1"
_STRING: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_STOP: Final = {"type": "string", "minLength": 1, "maxLength": MOST_STOP_CHARACTERS}
EMBEDDINGS_EXAMPLE: Final[JsonObject] = {"model": "minilm", "input": ["a browser is a computer"]}
ERROR: Final[JsonObject] = {
    "description": "refused, or failed, as OpenAI writes it",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": _STRING,
                            "type": _STRING,
                            "param": {"type": "string", "nullable": True},
                            "code": _STRING,
                        },
                    }
                },
            }
        }
    },
}


def schema_of(kind: Kind) -> JsonObject:
    """A kind of value as OpenAPI 3.0 says it; what it cannot say is read further, and may be refused then."""
    match kind:
        case Text():
            return {"type": "string", "minLength": 1}
        case Number(least, most):
            return {"type": "number", "minimum": least, "maximum": most}
        case Count(least, most):
            return {"type": "integer", "minimum": least, "maximum": most}
        case Flag():
            return {"type": "boolean"}
        case Choice(values):
            return {"type": "string", "enum": [*values, ""]}
        case Names():
            return {"oneOf": [_STRING, {"type": "array", "items": _STRING}]}
        case Stops():
            return {"oneOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": MOST_STOPS}]}
        case Tokens():
            token = {"type": "integer", "minimum": 0, "maximum": MOST_TOKEN}
            return {"type": "array", "items": token, "maxItems": MOST_BIASES}
        case Biases():
            bias = {"type": "number", "minimum": -MOST_BIAS, "maximum": MOST_BIAS}
            return {"type": "object", "additionalProperties": bias, "maxProperties": MOST_BIASES}
        case Language():
            return {"type": "string", "pattern": "^[a-z]{2,3}$"}
        case Only(harmless, _):
            return {"enum": [*harmless, None]}
        case StreamOptions() | Words() | Form():
            return dict(_OBJECT)
    return {}


def _property(field: Field) -> JsonObject:
    if isinstance(field.kind, Only):
        return {
            **schema_of(field.kind),
            "nullable": True,
            "description": f"not served: {field.kind.why}",
        }
    told = {**schema_of(field.kind), "description": f"{field.kind.expected}; {field.help}"}
    if not field.required:
        told["nullable"] = True  # as if it were missing
    return told


def request_of(endpoint: Endpoint) -> JsonObject:
    """The document, or form, that an endpoint takes."""
    fields = fields_of(endpoint)
    return {
        "type": "object",
        "required": [field.name for field in fields if field.required],
        "properties": {field.name: _property(field) for field in fields},
        "additionalProperties": False,
    }


def _answer(about: str, **properties: JsonObject) -> JsonObject:
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"200": {"description": about, "content": {"application/json": {"schema": schema}}}}


def _post(
    name: str, endpoint: Endpoint, about: str, answer: JsonObject, **more: object
) -> JsonObject:
    schema = request_of(endpoint)
    kind = "application/json"
    if endpoint is Endpoint.TRANSCRIPTIONS:
        kind = "multipart/form-data"
        schema["properties"]["file"] |= {"type": "string", "format": "binary"}
    return {
        "post": {
            "operationId": f"v1_{name}",
            "tags": [_TAG],
            "description": about,
            "requestBody": {"required": True, "content": {kind: {"schema": schema, **more}}},
            "responses": answer,
        }
    }


def _get(name: str, about: str, answer: JsonObject, *parameters: JsonObject) -> JsonObject:
    told = {"operationId": f"v1_{name}", "tags": [_TAG], "description": about, "responses": answer}
    return {"get": {**told, "parameters": list(parameters)}}


def _list(**items: JsonObject) -> JsonObject:
    return {"type": "array", "items": {"type": "object", "properties": items}}


def _texts(about: str, choices: JsonObject) -> JsonObject:
    answer = _answer(
        about, id=_STRING, object=_STRING, model=_STRING, choices=choices, usage=_OBJECT
    )
    answer["200"]["content"]["text/event-stream"] = {
        "schema": _STRING
    }  # where `stream` is asked for
    return answer


def _transcript() -> JsonObject:
    answer = _answer("the transcript", text=_STRING, usage=_OBJECT)
    answer["200"]["content"]["text/plain"] = {"schema": _STRING}  # `response_format` text
    return answer


_INDEX: Final = {"type": "integer"}
_MODEL: Final = {"id": _STRING, "object": _STRING, "created": {"type": "integer"}}
PATHS: Final[JsonObject] = {
    "/v1/models": _get(
        "models",
        "Models that write text or embed it",
        _answer("the models", object=_STRING, data=_list(**_MODEL)),
    ),
    "/v1/models/{name}": _get(
        "model",
        "One model that writes text or embeds it",
        _answer("the model", **_MODEL),
        {"name": "name", "in": "path", "required": True, "schema": _STRING},
    ),
    Endpoint.CHAT.value: _post(
        "chat",
        Endpoint.CHAT,
        "Answer a chat, by a model that writes text",
        _texts("the answers", _list(index=_INDEX, message=_OBJECT, finish_reason=_STRING)),
    ),
    Endpoint.COMPLETIONS.value: _post(
        "completions",
        Endpoint.COMPLETIONS,
        "Write a text on",
        _texts("the texts", _list(index=_INDEX, text=_STRING, finish_reason=_STRING)),
    ),
    Endpoint.EMBEDDINGS.value: _post(
        "embeddings",
        Endpoint.EMBEDDINGS,
        "Embed texts",
        _answer(
            "the embeddings",
            object=_STRING,
            data=_list(index=_INDEX, object=_STRING, embedding={}),
            model=_STRING,
            usage=_OBJECT,
        ),
        example=EMBEDDINGS_EXAMPLE,
    ),
    Endpoint.TRANSCRIPTIONS.value: _post(
        "transcriptions",
        Endpoint.TRANSCRIPTIONS,
        "Write down what is spoken in a sound",
        _transcript(),
    ),
}  # fmt: skip
