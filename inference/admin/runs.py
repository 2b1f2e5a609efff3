"""Runs, their shards on a time line, and every attempt. The ledger owns them: read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from browsers.admin import PAGE_AGE, ReadOnly, Rows
from inference.admin import run_page
from inference.admin.renewed import Renewed
from inference.documents import JsonObject
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepState
from inference.runs.metrics import milliseconds, prediction_metrics
from inference.runs.options import recorded
from webpool_site.telling import units
from webpool_site.telling.columns import Fieldsets, told_fieldsets
from webpool_site.telling.outline import outline


class RunStepInline(Rows):
    model = RunStep
    fields = ["index", "kind", "state", "browser", "queued_at", "claimed_at", "finished_at"]
    show_change_link = True
    classes = ["collapse"]


@admin.register(Run)
class RunAdmin(ReadOnly, Renewed[Run]):
    list_display = [
        "id", "model", "plan_name", "shown_state", "time", "owner", "created_at", "error_category",
    ]  # fmt: skip
    list_filter = ["state", "model", "plan__strategy", "error_category"]
    search_fields = ["id", "owner"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = [RunStepInline]
    part_template = "inference/run.html"

    def part(self, row: Run) -> JsonObject:
        return run_page.told(row)

    def changes(self, row: Run) -> bool:
        return row.state == RunState.RUNNING

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Fieldsets:
        """What was asked for, folded: of the options those that say something."""
        fields = ["id"]
        if obj:
            fields += [name for name in (*recorded(), "filled_in") if getattr(obj, name)]
            fields += ["deadline_at"]
            fields += ["shown_prediction"] if obj.prediction else []
            fields += ["shown_selection"] if obj.selection else []
        return told_fieldsets(Run, [("Asked for", {"fields": fields, "classes": ["collapse"]})])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows: QuerySet[Run] = super().get_queryset(request).select_related("model", "plan__model")
        return rows.defer("model__summary", "plan__model__summary")

    @display(
        description="state",
        label={
            RunState.RUNNING: "info",
            RunState.SUCCEEDED: "success",
            RunState.FAILED: "danger",
            RunState.CANCELLED: "warning",
        },
    )
    def shown_state(self, run: Run) -> str:
        return run.state

    @display(description="plan")
    def plan_name(self, run: Run) -> SafeString:
        link = reverse("admin:inference_plan_change", args=[run.plan_id])
        return format_html('<a class="wp-link" href="{}">{}</a>', link, run.plan.way)

    @display(description="time")
    def time(self, run: Run) -> str:
        return units.milliseconds(milliseconds(run.created_at, run.finished_at))

    @display(description="what strategy auto expected")
    def shown_prediction(self, run: Run) -> SafeString:
        return outline(prediction_metrics(run))

    @display(description="how the browser was chosen")
    def shown_selection(self, run: Run) -> SafeString:
        return outline(run.selection)


class AttemptInline(Rows):
    model = Attempt
    fields = [
        "number", "outcome", "browser", "browser_version", "backend", "adapter", "software", "nodes",
        "queue_ms", "load_ms", "transfer_ms", "compute_ms", "memory_mb", "error_category", "error",
    ]  # fmt: skip


@admin.register(RunStep)
class RunStepAdmin(ReadOnly, ModelAdmin):
    change_form_outer_before_template = PAGE_AGE
    list_display = ["id", "run_link", "index", "shown_state", "browser", "attempts", "finished_at"]
    list_filter = ["state", "browser"]
    search_fields = ["run__id"]
    show_full_result_count = False
    inlines = [AttemptInline]
    fieldsets = [
        (None, {"fields": [
            "shown_state", "run_link", "browser", "queued_at", "claimed_at", "finished_at", "attempts",
        ]}),
        ("Which step, and how it was sent", {"classes": ["collapse"], "fields": [
            "index", "kind", "plan_step", "fence", "avoid", "ready_at",
        ]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[RunStep]:
        rows: QuerySet[RunStep] = super().get_queryset(request)
        return rows.select_related("plan_step__plan__model").order_by("-id")

    @display(description="run")
    def run_link(self, shard: RunStep) -> SafeString:
        link = reverse("admin:inference_run_change", args=[shard.run_id])
        return format_html('<a class="wp-link" href="{}">{}</a>', link, shard.run_id)

    @display(
        description="state",
        label={
            StepState.DONE: "success",
            StepState.RUNNING: "info",
            StepState.QUEUED: "info",
            StepState.FAILED: "danger",
            StepState.CANCELLED: "warning",
        },
    )
    def shown_state(self, shard: RunStep) -> str:
        return shard.state


@admin.register(Attempt)
class AttemptAdmin(ReadOnly, ModelAdmin):
    change_form_outer_before_template = PAGE_AGE
    list_display = [
        "id", "shard", "number", "shown_outcome", "browser", "browser_version", "backend", "compute_ms",
        "error_category", "finished_at",
    ]  # fmt: skip
    list_filter = ["outcome", "browser", "backend", "error_category"]
    show_full_result_count = False
    fieldsets = [
        (None, {"fields": [
            "shown_outcome", "error_category", "error", "shard", "number", "browser", "backend", "unproved",
            "queue_ms", "load_ms", "transfer_ms", "compute_ms", "started_at", "finished_at",
        ]}),
        ("What ran it, and on what", {"classes": ["collapse"], "fields": [
            "family", "browser_version", "driver_version", "adapter", "software", "nodes", "warm",
            "memory_mb", "shapes", "bytes_in", "bytes_out", "tokens",
        ]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows: QuerySet[Attempt] = super().get_queryset(request)
        return rows.select_related("shard").order_by("-id")

    @display(
        description="outcome",
        label={
            Outcome.SUCCEEDED: "success",
            Outcome.FAILED: "danger",
            Outcome.LOST: "danger",
            Outcome.SUPERSEDED: "warning",
            Outcome.DOUBTED: "warning",
        },
    )
    def shown_outcome(self, attempt: Attempt) -> str:
        return attempt.outcome
