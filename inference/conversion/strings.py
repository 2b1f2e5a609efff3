"""Which text may be an element of a string tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.documents import Array

NUL = "the browser's runtime takes C strings, which would end there"


def text_of(item: str | bytes) -> str:
    """The text, from UTF-8 where bytes came.

    Raises:
        UnicodeEncodeError, UnicodeDecodeError: it has no form in UTF-8, such as a lone surrogate.
    """
    if isinstance(item, str):
        item.encode()
        return item
    return str(item, "utf-8")


def why_not(item: object) -> str | None:
    """Why an element cannot be in a string tensor; None: it can; empty: its type says it."""
    if not isinstance(item, str | bytes):
        return ""
    try:
        text = text_of(item)
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        return f"it has no form in UTF-8: {error.reason}"
    return NUL if "\0" in text else None


def from_python(flat: Sequence[Any]) -> Array | None:
    """The elements as a flat object array of `str`; None: `why_not` has something against one of them."""
    if any(why_not(item) is not None for item in flat):
        return None
    made = np.empty(len(flat), dtype=object)
    made[:] = [text_of(item) for item in flat]
    return made
