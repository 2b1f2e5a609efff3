"""Operator forms that a backend is known to answer wrongly for some values, and files that hold them: pure.

A proof shows that a backend answers a file right for the values it was tried with. What goes wrong for
certain values only (a divisor of zero, a tie, an index beyond the table) it does not show: such forms are
listed here. `inference/graph/forms.py` finds them in a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from browsers.core.answers.agreement import numbers
from browsers.core.protocol import WireTensor


@dataclasses.dataclass(frozen=True)
class BadForm:
    """One form, the backends that get it wrong, and how.

    Attributes:
        right_since: kind of browser → its first major version that is right; others never were.
    """

    backends: frozenset[str]
    reason: str
    right_since: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def hits(self, backend: str, kind: str, version: str) -> bool:
        """Whether that backend of that build gets it wrong."""
        major = version.partition(".")[0]
        fixed = self.right_since.get(kind)
        mended = fixed is not None and major.isdigit() and int(major) >= fixed
        return backend in self.backends and not mended


_LARGEST: Final = 2**31
_GPU_LIKE: Final = frozenset({"webgpu", "webnn"})

BAD_FORMS: Final[Mapping[str, BadForm]] = {
    "integer_division": BadForm(
        _GPU_LIKE,
        "an integer is divided by what is computed: a divisor of zero is no error there, and the answer "
        "is whatever lay in memory",
    ),
    "last_index_of_ties": BadForm(
        _GPU_LIKE, "ArgMax or ArgMin with select_last_index gives the first of equal values"
    ),
    "unchecked_index": BadForm(
        _GPU_LIKE, "indices that are computed are clamped where onnxruntime refuses them"
    ),
    "integer_power": BadForm(_GPU_LIKE, "a whole number is raised in floating point"),
    "scatter_order": BadForm(
        _GPU_LIKE, "where two indices are the same, which of them counts is not said"
    ),
    "chosen_branch": BadForm(
        _GPU_LIKE,
        "which part of the model runs depends on values: only what ran was tried",
    ),
}


def bad_form(forms: Iterable[str], backend: str, kind: str, version: str) -> str:
    """Why a file with these forms is not computed on a backend; empty: nothing is known against it."""
    for name in sorted(forms):
        if BAD_FORMS[name].hits(backend, kind, version):
            return BAD_FORMS[name].reason
    return ""


def bad_values(inputs: Iterable[WireTensor], index_limits: Mapping[str, int]) -> str:
    """Why these inputs are not computed on a backend other than wasm; empty: nothing is against it.

    `index_limits`: inputs that look up a table of that length, which is all that may be asked for.
    """
    for tensor in inputs:
        if tensor.dtype.startswith("float") and not np.isfinite(numbers(tensor)).all():
            return f"input {tensor.name!r} holds NaN or infinity, which may come out finite"
        limit = index_limits.get(tensor.name)
        if tensor.dtype in ("int64", "uint64") and _beyond_32_bits(tensor):
            return f"input {tensor.name!r} holds whole numbers beyond 32 bits, which are cut"
        if limit is not None and len(tensor.data):
            if tensor.dtype == "string":
                return f"input {tensor.name!r} holds indices as text, which cannot be checked"
            values = numbers(tensor)
            if int(values.min()) < 0 or int(values.max()) >= limit:
                return f"input {tensor.name!r} holds indices outside of 0 to {limit - 1}, which are clamped"
    return ""


def unlike_natively(inputs: Iterable[WireTensor]) -> str:
    """Why even wasm may answer these inputs otherwise than native onnxruntime; empty: nothing is known."""
    for tensor in inputs:
        if tensor.dtype.startswith("float") and np.isnan(numbers(tensor).min(initial=np.inf)):
            return (
                f"input {tensor.name!r} holds NaN, which wasm orders and sums up otherwise than natively in "
                "places"
            )
    return ""


def _beyond_32_bits(tensor: WireTensor) -> bool:
    sizes = np.abs(numbers(tensor).astype(np.float64))
    return float(sizes.max(initial=0.0)) >= _LARGEST
