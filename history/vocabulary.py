"""The kinds of browser there are: told by webpool_site, for history knows no drivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_tell: Callable[[], Sequence[str]] = tuple
_tell_available: Callable[[], Sequence[str]] = tuple


def use(tell: Callable[[], Sequence[str]], *, available: Callable[[], Sequence[str]]) -> None:
    """Ask for the kinds when they are needed: importing the drivers takes a while."""
    global _tell, _tell_available
    _tell, _tell_available = tell, available


def browsers() -> tuple[str, ...]:
    """Every kind that webpool can drive."""
    return tuple(_tell())


def available() -> tuple[str, ...]:
    """The kinds that this pool has."""
    return tuple(_tell_available())
