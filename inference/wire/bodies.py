"""The bodies that /api/ takes as JSON, within the limits of every door."""

from __future__ import annotations

from typing import IO

from rest_framework.parsers import BaseParser

from inference.conversion import documents
from inference.documents import JsonObject, JsonView


class BoundedJSON(BaseParser):
    """In place of Django REST framework's parser, which builds whatever comes."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: JsonView | None = None,
    ) -> JsonObject:
        """As `documents.parse`; the rest of a body that is too large stays unread."""
        return documents.parse(stream.read(documents.most_bytes() + 1))
