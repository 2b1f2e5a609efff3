"""Documents as commands print them."""

from __future__ import annotations

import json

from django.core.management.base import OutputWrapper


def write_json(out: OutputWrapper, document: object) -> None:
    """The document that the REST API gives for the same question."""
    out.write(json.dumps(document, indent=2, default=str))
