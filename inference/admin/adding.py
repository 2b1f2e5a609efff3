"""Rows that a form adds as a whole, files and all, before Django would save one."""

from __future__ import annotations

from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest

from inference.documents import JsonObject


class AddedByForm:
    """Before Django's own in an admin's bases."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: JsonObject | None = None,
    ) -> object:
        """A file is read and packed without holding a transaction: that would stop every run."""
        view = super()._changeform_view if object_id is None else super().changeform_view  # type: ignore[misc]
        return view(request, object_id, form_url, extra_context)

    def save_model(
        self, request: HttpRequest, obj: Model, form: ModelForm[Model], change: bool
    ) -> None:
        """The form has added it."""
