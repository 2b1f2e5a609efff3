"""What can be told at all."""

from __future__ import annotations


def is_utf8(text: str) -> bool:
    """Whether it has no lone surrogate: what has one no file, database or answer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
