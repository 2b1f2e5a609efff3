"""What history must know of browsers and their failures: told by webpool_site, for it knows no browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from history.core.samples import Blame

_kinds: Callable[[], Sequence[str]] = tuple
_available: Callable[[], Sequence[str]] = tuple
_blame: Callable[[str], str | None] = dict[str, str]().get


def use(
    *,
    kinds: Callable[[], Sequence[str]],
    available: Callable[[], Sequence[str]],
    blame: Callable[[str], str | None],
) -> None:
    """Where to ask when it is needed: importing the drivers takes a while.

    `blame`: what a failure of that `error_type` counts against, a value of `Blame`; None: it is not known.
    """
    global _kinds, _available, _blame
    _kinds, _available, _blame = kinds, available, blame


def browsers() -> tuple[str, ...]:
    """Every kind that webpool can drive."""
    return tuple(_kinds())


def available() -> tuple[str, ...]:
    """The kinds that this pool has."""
    return tuple(_available())


def blame_of(error_type: str | None) -> Blame:
    """What a failure counts against that comes without saying so: the browser, unless its type is known."""
    known = _blame(error_type) if error_type else None
    return Blame(known) if known else Blame.BROWSER
