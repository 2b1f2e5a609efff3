"""What /api/schema/ says of every operation alike: how it refuses and fails."""

from __future__ import annotations

from typing import Any

_EVERYWHERE = ("400", "401", "403", "404", "405", "429", "503")
_WITH_BODY = ("411", "413", "415")
_ERROR = {
    "description": "refused, or failed",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def add_refusals(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """A hook of drf-spectacular, after all operations are described."""
    for path in result["paths"].values():
        for method, operation in path.items():
            statuses = _EVERYWHERE + (_WITH_BODY if method != "get" else ())
            for status in statuses:
                operation["responses"].setdefault(status, _ERROR)
    return result
