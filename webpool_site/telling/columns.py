"""Fields of numbers and documents in the admin: in lists, on pages and in tables, as people read them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, FloatField, JSONField, Model
from django.http import HttpRequest
from django.utils.safestring import SafeString

from webpool_site.telling import units
from webpool_site.telling.outline import outline

Column = str | Callable[[Any], Any]
Fieldsets = Sequence[tuple[Any, Any]]


class Told:
    """Mixin, before a page or a table of the admin whose rows nobody changes there.

    A page that says itself what its fields are gives them to `told_fieldsets`.
    """

    model: type[Model]

    def get_list_display(self, request: HttpRequest) -> list[Column]:
        return told(self.model, super().get_list_display(request))  # type: ignore[misc]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Column]:
        return told(self.model, super().get_readonly_fields(request, obj))  # type: ignore[misc]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Fieldsets:
        return told_fieldsets(self.model, super().get_fieldsets(request, obj))  # type: ignore[misc]


def told_fieldsets(model: type[Model], fieldsets: Fieldsets) -> Fieldsets:
    """The same, with numbers and documents as people read them."""
    return [
        (title, {**options, "fields": told(model, options["fields"])})
        for title, options in fieldsets
    ]


def told(model: type[Model], names: Iterable[Column]) -> list[Column]:
    """Names of fields; those of numbers and documents as columns that tell them."""
    return [_told(model, name) for name in names]


def _told(model: type[Model], name: Column) -> Column:
    if not isinstance(name, str):
        return name
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return name
    measured = isinstance(field, FloatField | JSONField) or units.has_unit(name)
    return _column(field) if measured and isinstance(field, Field) else name


@functools.cache
def _column(field: Field[Any, Any]) -> Column:
    """One for each field: Django asks whether a column is among others."""
    title = units.without_unit(field.name).replace("_", " ")

    @admin.display(description=title, ordering=field.name)
    def column(row: Model) -> SafeString:
        return outline(getattr(row, field.name), field.name)

    column.__name__ = field.name  # by which the admin finds the field's help
    return column
