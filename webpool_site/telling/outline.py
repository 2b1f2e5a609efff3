"""A JSON document as a page tells it: words, numbers with their units; what is deep or long is folded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from webpool_site.telling import units

Document = dict[str, object] | list[object]
NONE: Final = "none"
_IN_A_LINE: Final = 8
"""So many plain values, or numbers of a list, are read in one line."""


def outline(value: object, name: str = "") -> SafeString:
    """The value of a field, or of a document's key, `name`; null is `unknown`, as everywhere."""
    if not isinstance(value, dict | list):
        return format_html("{}", plain(value, name))
    if not value:
        return format_html("{}", NONE)
    if _is_short(value):
        between = ", " if isinstance(value, list) else "; "
        return format_html_join(between, "{}{}", _words(value, name))
    return format_html('<ul class="wp-said">{}</ul>', _entries(value, name))


def plain(value: object, name: str = "") -> str:
    """A value that holds no others."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int | float):
        return units.named(name, value)
    return str(value)


def _is_short(value: object) -> bool:
    """Whether it is read in a line: few values, of which none holds more than a few plain ones."""
    if not isinstance(value, dict | list):
        return True
    inner = [item for _, item in _items(value)]
    return len(inner) <= _IN_A_LINE and all(
        not isinstance(item, dict | list) or (isinstance(item, list) and _is_row(item))
        for item in inner
    )


def _is_row(values: list[object]) -> bool:
    return len(values) <= _IN_A_LINE and not any(isinstance(one, dict | list) for one in values)


def _items(value: Document) -> list[tuple[str, object]]:
    """What it holds, each with its key; the entries of a list have none."""
    return [*value.items()] if isinstance(value, dict) else [("", item) for item in value]


def _words(value: Document, name: str) -> Iterator[tuple[str, object]]:
    for key, item in _items(value):
        told = outline(item, key or name)
        told = format_html("[{}]", told) if isinstance(item, list) and not key else told
        yield _key(key, item), told


def _entries(value: Document, name: str) -> SafeString:
    entries = (
        (_entry(key, number, item, name),) for number, (key, item) in enumerate(_items(value), 1)
    )
    return format_html_join("", "<li>{}</li>", entries)


def _entry(key: str, number: int, item: object, name: str) -> SafeString:
    told = outline(item, key or name)
    if _is_short(item):
        return format_html("{}{}", _key(key, item), told)
    head = key or f"entry {number}"
    return format_html("<details><summary>{}</summary>{}</details>", head, told)


def _key(key: str, item: object) -> str:
    """The key before its value, whose unit it need not name."""
    measured = item is None or isinstance(item, int | float)
    return f"{units.without_unit(key) if measured else key}: " if key else ""
