"""Comparisons: what each cell is, renewed while it runs; started from the page of their model."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import action, display

from browsers.admin import ReadOnly
from inference import auth
from inference.admin.audit import Audited
from inference.admin.renewed import Renewed
from inference.admin.steering import steer
from inference.comparisons import asking, page, report
from inference.documents import JsonObject
from inference.models import Comparison, ComparisonState
from webpool_site.telling.columns import Fieldsets


@admin.register(Comparison)
class ComparisonAdmin(Audited, ReadOnly, Renewed[Comparison]):
    list_display = ["id", "model", "shown_state", "source", "runs", "owner", "created_at"]
    list_filter = ["state", "model", "scheduled"]
    search_fields = ["id", "owner", "model__name"]
    actions = ["cancel"]
    part_template = "inference/comparison/admin.html"

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> Fieldsets:
        """The page says it all above the fields, of which there are none."""
        return []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comparison]:
        rows: QuerySet[Comparison] = super().get_queryset(request).select_related("model")
        return rows.defer("model__summary")

    def part(self, row: Comparison) -> JsonObject:
        return page.told(report.document(row))

    def changes(self, row: Comparison) -> bool:
        return row.state == ComparisonState.RUNNING

    @display(
        description="state",
        label={
            ComparisonState.RUNNING: "info",
            ComparisonState.FINISHED: "success",
            ComparisonState.CANCELLED: "warning",
        },
    )
    def shown_state(self, comparison: Comparison) -> str:
        return comparison.state

    @action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Comparison]) -> None:
        count = steer(
            self, request, queryset, "cancel", asking.cancel, permission=auth.CHANGE_COMPARISON
        )
        self.message_user(request, f"{count} comparisons cancelled")
