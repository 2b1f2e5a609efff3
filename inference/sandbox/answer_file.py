"""How known answers lie in an npz: `meta`, and of each case `<number>:in:<name>`, `<number>:out:<name>`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from browsers.core.answers.bad_forms import BAD_FORMS

IN: Final = "in:"
OUT: Final = "out:"
META: Final = "meta"
# Of a graph that cannot be followed: it may hold every bad form.
UNTOLD: Final[dict[str, Any]] = {
    "forms": sorted(BAD_FORMS), "index_limits": {}, "random": [], "halves": False, "narrows": True,
}  # fmt: skip


def packed(meta: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(json.dumps(meta).encode(), np.uint8)


def unpacked(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(array.tobytes())
    return found
