"""Where webpool lies: in a checkout, whose folder holds everything, or installed by pip.

Installed, its own files are read-only beside its packages, and what it makes and fetches lies in its home.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
"""The folder of the packages: the checkout, or site-packages."""

CHECKOUT: Final = (ROOT / "manage.py").is_file()

DATA: Final = ROOT if CHECKOUT else ROOT / "webpool_site" / "data"
"""Files that are no Python: templates/, package.json and its lock, requirements-models.txt."""


def default_home() -> Path:
    """Where webpool keeps its data: environment variable WEBPOOL_HOME, else `var` in the checkout, else
    `webpool` in the user's data folder (XDG_DATA_HOME)."""
    if told := os.environ.get("WEBPOOL_HOME"):
        return Path(told)
    if CHECKOUT:
        return ROOT / "var"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "webpool"


def npm_root(home: Path) -> Path:
    """The folder that holds node_modules."""
    return ROOT if CHECKOUT else home / "tools" / "npm"


PROGRAM: Final = "manage.py" if CHECKOUT else "webpool"
"""What people type before the name of a command."""

_MAKE: Final = "make" if CHECKOUT else PROGRAM
UP: Final = f"{_MAKE} up"
SETUP: Final = f"{_MAKE} setup"
"""What people type to start the pool, and to install what is missing."""
