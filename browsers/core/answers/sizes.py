"""How large the numbers of a tensor are, in the steps that a proof holds for: pure.

Exponents overflow, squares and sums lose what is small, and numbers near zero become zero at other places of
one backend than of another. So a backend is tried with numbers up to the end of the step that was asked for.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from browsers.core.answers.agreement import numbers
from browsers.core.protocol import WireTensor

SMALL: Final = 2.0
"""Up to here numbers are tried whatever was asked for."""
_USUAL: Final = 64.0
_STEPS: Final = (SMALL, 8.0, _USUAL, 256.0, 1e4, 1e9)


@dataclasses.dataclass(frozen=True)
class Size:
    """The step of a tensor's floats.

    Attributes:
        most: the largest number of the step, as far as the type holds it.
        name: empty where all are small.
        unusual: what goes wrong for such numbers says nothing of others.
    """

    most: float
    name: str
    unusual: bool


_NO_FLOATS: Final = Size(0.0, "", unusual=False)


def size_of(tensor: WireTensor) -> Size:
    """Of all its numbers; NaN and infinity are kept away from any backend that is tried."""
    if not tensor.dtype.startswith("float"):
        return _NO_FLOATS
    found = np.abs(numbers(tensor))
    largest, limits = float(found.max(initial=0.0)), np.finfo(found.dtype)
    # Of float16 they are no rarity, and too small to matter.
    subnormal = tensor.dtype != "float16" and bool(((found > 0) & (found < limits.tiny)).any())
    step = next((step for step in _STEPS if largest <= step), None)
    if step is None:
        name = f">{_STEPS[-1]:g}"
    else:
        name = "" if step == SMALL else f"≤{step:g}"
    return Size(
        most=largest if step is None else min(step, float(limits.max)),
        name=name + ("~0" if subnormal else ""),
        unusual=subnormal or largest > _USUAL,
    )
