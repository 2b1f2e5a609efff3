"""A `webpool.json`, read where it is built: in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inference.conversion.documents import Bounds, parse
from inference.core import expectations
from inference.documents import Array

BODY: Final = "body"


def read(arrays: Mapping[str, Array], bounds: Mapping[str, int]) -> object:
    """The document, which is of the form.

    Raises:
        InvalidRequest: it is no JSON within the bounds.
        ValueError: it is of another form.
    """
    document = parse(arrays[BODY].data, Bounds(**bounds))
    expectations.read(document)
    return document
