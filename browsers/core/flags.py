"""Further flags of an operator's own for the Chromiums that are started here, and what tells them apart.

What a flag changes, such as how V8 compiles, is measured as another build: the version says so.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from typing import Final

VARIABLE: Final = "WEBPOOL_CHROMIUM_FLAGS"
OURS: Final = (
    "--headless", "--remote-debugging-address", "--remote-debugging-pipe", "--remote-debugging-port",
    "--user-data-dir",
)  # fmt: skip
"""How a browser is started, and who reaches it."""


class BadFlags(ValueError):
    """Which of them is none; what is expected."""


def further(text: str) -> list[str]:
    """The flags of a text, split as a shell does; several to V8 are `--js-flags="--one --two"`.

    Raises:
        BadFlags: a word is no flag, or one that webpool sets itself.
    """
    try:
        flags = shlex.split(text)
    except ValueError as error:
        raise BadFlags(f"{text!r:.100} cannot be split into flags: {error}") from error
    for flag in flags:
        name = flag.partition("=")[0]
        if not name.startswith("--") or name == "--":
            raise BadFlags(f"expected flags such as --enable-features=Name, got {flag!r:.100}")
        if name in OURS:
            raise BadFlags(f"{name} is webpool's own, to start a browser that it alone reaches")
    return flags


def with_features(flags: Sequence[str], option: str, features: Sequence[str]) -> list[str]:
    """The flags with these names added to an option of which Chromium reads the last alone."""
    prefix = f"{option}="
    given = [flag.removeprefix(prefix) for flag in flags if flag.startswith(prefix)]
    joined = ",".join([*features, *given])
    others = [flag for flag in flags if not flag.startswith(prefix)]
    return [*others, *([prefix + joined] if joined else [])]


def mark(flags: Sequence[str]) -> str:
    """What a version is followed by: nothing where there are no flags."""
    return f" flags {hashlib.sha256(shlex.join(flags).encode()).hexdigest()[:8]}" if flags else ""
