"""Attributes that are swapped with their replacements, and swapped back."""

from __future__ import annotations

from collections.abc import Sequence

Replacement = tuple[object, str, object]


class Switch:
    """Of one process; off at first."""

    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self._others = list(replacements)

    def turn(self, *_: object) -> None:
        """A signal's handler."""
        swapped = [(owner, name, vars(owner)[name]) for owner, name, _ in self._others]
        for owner, name, other in self._others:
            setattr(owner, name, other)
        self._others = swapped
