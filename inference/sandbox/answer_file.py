"""How known answers lie in an npz: `meta`, and of each case `<number>:in:<name>`, `<number>:out:<name>`."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from browsers.core.answers.bad_forms import BAD_FORMS
from inference.documents import Array, JsonObject, JsonView

IN: Final = "in:"
OUT: Final = "out:"
META: Final = "meta"
# Of a graph that cannot be followed: it may hold every bad form.
UNTOLD: Final[JsonObject] = {
    "forms": sorted(BAD_FORMS), "index_limits": {}, "random": [], "halves": False, "narrows": True,
}  # fmt: skip


def packed(meta: JsonView) -> Array:
    return np.frombuffer(json.dumps(meta).encode(), np.uint8)


def unpacked(array: Array) -> JsonObject:
    found: JsonObject = json.loads(array.tobytes())
    return found
