"""A page of the admin whose upper part tells of one row and renews itself while that changes."""

from __future__ import annotations

from typing import Generic, TypeVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from unfold.admin import ModelAdmin

from browsers import clock
from browsers.admin import PAGE_AGE
from inference.documents import JsonObject

Row = TypeVar("Row", bound=Model)


class Renewed(ModelAdmin, Generic[Row]):
    """Shows `part_template` above a row's fields, with what `part` says of it; lists say of when they are.

    The template is asked for again at `now/` by static/inference/live.js, until `changes` says no.
    """

    part_template: str
    ages = False
    """Whether what is shown may change later, though `changes` says no: the page says of when it is."""
    change_form_outer_before_template = "inference/part.html"
    list_before_template = PAGE_AGE
    list_per_page = 50  # cards on a phone: a hundred of them are 38,000 px

    def part(self, row: Row) -> JsonObject:
        """Template context."""
        raise NotImplementedError

    def changes(self, row: Row) -> bool:
        """Whether the row may be another one in a second."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        now = self.admin_site.admin_view(never_cache(self._now))
        name = f"{self.opts.app_label}_{self.opts.model_name}_now"
        return [path("<path:object_id>/now/", now, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: JsonObject | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        shown = self._context(row) if row else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def _now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"no {self.opts.verbose_name} has the id {object_id}")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return render(request, "inference/part.html", self._context(row))

    def _context(self, row: Row) -> JsonObject:
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_now", args=[row.pk])
        return {
            "part_template": self.part_template,
            "rows": address if self.changes(row) else "",
            "at": clock.now(),
            "ages": self.ages,
            **self.part(row),
        }
