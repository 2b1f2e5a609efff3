"""What an operator has history do by a command, told to whoever keeps a log of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.dispatch import Signal

ACTED: Final = Signal()
"""Sent with `action`, `target`, `detail` and `done`, all but the last in words."""


@dataclass
class Said:
    """What came of it; the command fills it in."""

    detail: str = ""


@contextmanager
def acting(action: str, target: str) -> Iterator[Said]:
    """Tell what is done inside, and that it failed when it raises."""
    said = Said()
    try:
        yield said
    except Exception as error:
        said.detail = str(error) or type(error).__name__
        ACTED.send(None, action=action, target=target, detail=said.detail, done=False)
        raise
    ACTED.send(None, action=action, target=target, detail=said.detail, done=True)
