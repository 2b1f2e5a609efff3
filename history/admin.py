"""What history published, in the admin. Read-only: it is computed, not entered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from history.models import BrowserRecommendation, CapabilityScore, Regression
from webpool_site.telling.columns import Told


class Computed(Told, ModelAdmin):
    """Everything is shown, nothing is changed; pages tell their age."""

    list_before_template = change_form_outer_before_template = "inference/page_age.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.editable]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BrowserRecommendation)
class BrowserRecommendationAdmin(Computed):
    list_display = [
        "model_type", "model_name", "recommended_browser", "recommended_platform", "confidence",
        "sample_size", "based_on", "timestamp",
    ]  # fmt: skip
    list_filter = ["model_type", "recommended_browser", "based_on"]
    search_fields = ["model_name"]


@admin.register(CapabilityScore)
class CapabilityScoreAdmin(Computed):
    list_display = [
        "model_type", "browser", "score", "low", "high", "confidence",
        "sample_size", "timestamp",
    ]  # fmt: skip
    list_filter = ["model_type", "browser"]


@admin.register(Regression)
class RegressionAdmin(Computed):
    list_display = [
        "browser", "from_build", "to_build", "model_name", "platform", "change_ratio", "p_value",
        "severity", "sample_size", "opened_at", "closed_at",
    ]  # fmt: skip
    list_filter = ["severity", "browser", "model_type"]
    search_fields = ["model_name", "to_build"]
