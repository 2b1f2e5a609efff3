"""What history published, in the admin. Read-only: it is computed, not entered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from history.models import BrowserRecommendation, CapabilityScore, Regression
from webpool_site.telling.units import number


def shown(field: str, unit: str = "") -> Callable[[Any, Model], str]:
    """A column of numbers as people read them, in order of the numbers."""

    @admin.display(description=field.replace("_", " "), ordering=field)
    def show(model_admin: Any, row: Model) -> str:
        return number(getattr(row, field), unit)

    return show


class Computed(ModelAdmin):
    """Numbers are shown as people read them: a field `x` by a column `x_shown`; pages tell their age."""

    list_before_template = change_form_outer_before_template = "inference/page_age.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        names = [field.name for field in self.model._meta.fields if field.editable]
        return [f"{name}_shown" if hasattr(self, f"{name}_shown") else name for name in names]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return self.get_fields(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BrowserRecommendation)
class BrowserRecommendationAdmin(Computed):
    confidence_shown = shown("confidence")
    list_display = [
        "model_type", "model_name", "recommended_browser", "recommended_platform", "confidence_shown",
        "sample_size", "based_on", "timestamp",
    ]  # fmt: skip
    list_filter = ["model_type", "recommended_browser", "based_on"]
    search_fields = ["model_name"]


@admin.register(CapabilityScore)
class CapabilityScoreAdmin(Computed):
    score_shown, low_shown, high_shown = shown("score"), shown("low"), shown("high")
    confidence_shown = shown("confidence")
    list_display = [
        "model_type", "browser", "score_shown", "low_shown", "high_shown", "confidence_shown",
        "sample_size", "timestamp",
    ]  # fmt: skip
    list_filter = ["model_type", "browser"]


@admin.register(Regression)
class RegressionAdmin(Computed):
    before_ms_shown, after_ms_shown = shown("before_ms", "ms"), shown("after_ms", "ms")
    change_ratio_shown, p_value_shown = shown("change_ratio"), shown("p_value")
    list_display = [
        "browser", "from_build", "to_build", "model_name", "platform", "change_ratio_shown", "p_value_shown",
        "severity", "sample_size", "opened_at", "closed_at",
    ]  # fmt: skip
    list_filter = ["severity", "browser", "model_type"]
    search_fields = ["model_name", "to_build"]
