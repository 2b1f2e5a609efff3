"""How much of a prompt a kept cache already holds.

Only positions of the kept session's own prompt are taken. What it wrote came one position a step, and kernels
may compute a single position another way: the same prompt without a kept cache has it in steps of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LEAST: Final = 16
"""Fewer positions are computed anew, and no cache is kept for fewer."""
_REST: Final = 2  # of the prompt, that a step of several positions is left to compute


def reusable(kept: Sequence[int], prompt: Sequence[int]) -> int:
    """How many positions of `prompt` need not be computed where those of `kept` are there; 0: too few."""
    most = min(len(kept), len(prompt) - _REST)
    common = next((at for at in range(most) if kept[at] != prompt[at]), max(0, most))
    return common if common >= LEAST else 0
