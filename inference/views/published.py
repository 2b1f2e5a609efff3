"""What /api/schema/ says of every operation alike, and of /v2/ and /v1/, which no view of REST serves."""

from __future__ import annotations

import copy

from inference.documents import JsonObject
from inference.wire.oip.described import PATHS as _V2
from inference.wire.openai.described import ERROR as _ERROR_OF_V1
from inference.wire.openai.described import PATHS as _V1

_EVERYWHERE = ("400", "401", "403", "404", "405", "429", "503")
_WITH_BODY = ("411", "413", "415")
_ERROR = {
    "description": "refused, or failed",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
# Requests that work once the sample model is there.
_EXAMPLES = {
    ("/api/runs/", "post"): {
        "model": "minilm", "texts": ["a browser is a computer"], "strategy": "layer", "shards": 2,
    },
    ("/api/plans/", "post"): {"model": "minilm", "strategy": "layer", "shards": 2},
}  # fmt: skip


def complete(result: JsonObject, generator: object, request: object, public: bool) -> JsonObject:
    """A hook of drf-spectacular, after all operations are described.

    Adds /v2/ and /v1/, and to each operation a tag, a summary, how it refuses and fails, some an example.
    """
    result["paths"] |= copy.deepcopy({**_V2, **_V1})
    for address, path in result["paths"].items():
        error = _ERROR_OF_V1 if address in _V1 else _ERROR
        for method, operation in path.items():
            if address.startswith("/api/"):
                operation["tags"] = [address.split("/")[2]]
            operation["summary"] = operation["description"].split("\n")[0].rstrip(".")
            statuses = _EVERYWHERE + (_WITH_BODY if method != "get" else ())
            for status in statuses:
                operation["responses"].setdefault(status, error)
            if example := _EXAMPLES.get((address, method)):
                operation["requestBody"]["content"]["application/json"]["example"] = example
    return result
