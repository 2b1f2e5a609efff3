"""Which kind of browser to begin with where nothing was measured: documented preferences, no measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STARTING_PREFERENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("edge",),
    "text_embedding": ("edge",),
    "vision": ("chrome", "chromium"),
    "audio": ("firefox",),
}
ON_BATTERY: Final = "safari"
DEFAULT_CONFIDENCE: Final = 0.3
