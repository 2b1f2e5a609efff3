"""What callers are told, without the server's paths, whoever wrote them: a driver, a browser, the system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from django.conf import settings

_MOST_WHY: Final = 8000  # characters of a refusal
_ROOTS: Final = sorted(re.escape(each.name) for each in Path("/").iterdir())
# Names of nodes look like paths, too (/encoder/MatMul): a path begins with what is in this system's root.
_PATH: Final = re.compile(rf"(?<![\w.\-])/+(?:{'|'.join(_ROOTS)})/[^\s'\"`,;:()\[\]{{}}<>|]*")


def sayable(text: str) -> str:
    """The text in UTF-8, whatever a caller sent that it repeats, and without the server's own paths.

    What is longer than anybody reads is cut: a caller's own megabytes are not sent back.
    """
    if len(text) > _MOST_WHY:
        text = f"{text[:_MOST_WHY]}…"
    return without_paths(text).encode("utf-8", "backslashreplace").decode()


def without_paths(text: str) -> str:
    """The text with the last name of each path alone; the home and the program by their names."""
    for folder, name in ((settings.WEBPOOL_HOME, "WEBPOOL_HOME"), (settings.BASE_DIR, "webpool")):
        text = text.replace(str(folder), name)
    return _PATH.sub(lambda found: "…/" + found[0].rstrip("/.").rpartition("/")[2], text)
