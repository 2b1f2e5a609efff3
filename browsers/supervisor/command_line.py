"""What `ps` shows of this process: the words with which a process was started can be written over."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOM: Final = " " * 1000
"""A last word for a command whose process is to be renamed: new words take the place of the old, no more."""

_START, _END = 45, 46  # proc(5): arg_start and arg_end, counted from the state on


def rewrite(words: Sequence[str]) -> None:
    """Show these words instead (Linux); what does not fit in the room of the first ones is cut off."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, room = int(fields[_START]), int(fields[_END]) - int(fields[_START])
    text = b"\0".join(os.fsencode(word) for word in words)[: room - 1]
    ctypes.memmove(start, text.ljust(room, b"\0"), room)
