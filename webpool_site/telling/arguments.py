"""What a command was given, looked at before it does anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from webpool_site.telling.text import is_utf8

_NAME_BYTES = 220
"""Of 255 that file systems take: what is being written has a longer name until it is whole."""


def no_text(options: Mapping[str, object]) -> str:
    """What is wrong with the first value that is no text; empty: nothing.

    Bytes that are no UTF-8 come as lone surrogates, which no database and no answer can hold. Names of files
    may be any bytes.
    """
    for name, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str) and not is_utf8(one):
                return f"{name}: expected text in UTF-8, got {one[:80]!a}"
    return ""


def name_of(path: Path) -> str:
    """What a refusal calls a file: its name, else the path itself, which has none in `.` and `/`."""
    return path.name or str(path)


def why_not_written(path: Path) -> str:
    """Why no file can be written there; empty: one can. Asked before what goes into it is computed."""
    if len(os.fsencode(path.name)) > _NAME_BYTES:
        return f"its name has more than {_NAME_BYTES} bytes"
    if path.is_dir():
        return "it is a folder; expected the name of a file"
    if not path.parent.is_dir():
        return f"{path.parent} is no folder; make it first"
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
            return ""
    except OSError as error:
        return error.strerror or str(error)
