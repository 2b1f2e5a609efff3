"""Batch jobs and their batches. The engine owns the rows: read-only, with actions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from browsers.admin import ReadOnly, megabytes, pretty, table
from inference.batches import jobs, report
from inference.batches.models import Batch, BatchJob, BatchState, JobState
from inference.errors import WebpoolError

_STATE_COLOURS = {
    BatchState.RUNNING: "info",
    BatchState.DONE: "success",
    BatchState.FAILED: "danger",
}


class BatchInline(ReadOnly, TabularInline):
    model = Batch
    fields = [
        "index", "item_range", "state", "attempts", "run_link", "error_category", "error", "finished_at",
    ]  # fmt: skip
    readonly_fields = fields
    extra = 0
    per_page = 20

    @display(description="items")
    def item_range(self, batch: Batch) -> str:
        return f"{batch.items[0]} … {batch.items[-1]} ({batch.item_count})"

    @display(description="run")
    def run_link(self, batch: Batch) -> SafeString | str:
        if batch.run_id is None:
            return "-"
        link = reverse("admin:inference_run_change", args=[batch.run_id])
        return format_html('<a href="{}">{}</a>', link, str(batch.run_id)[:8])


@admin.register(BatchJob)
class BatchJobAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "model", "shown_state", "shown_progress", "source", "owner", "created_at"]
    list_filter = ["state", "model", "source_format"]
    search_fields = ["id", "owner", "source_name", "source_sha256"]
    inlines = [BatchInline]
    actions = ["cancel", "resume", "retry_failed"]
    fieldsets = [
        (None, {"fields": ["id", "shown_state", "shown_progress", "note", "model", "owner"]}),
        ("Results", {"fields": ["download", "browsers"]}),
        ("Input", {"fields": ["source", "source_sha256", "size", "source_format", "filled_in"]}),
        ("Asked for", {"fields": ["batch_size", "concurrency", "shown_options"]}),
        ("Times", {"fields": ["created_at", "started_at", "finished_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchJob]:
        rows: QuerySet[BatchJob] = super().get_queryset(request)
        done, failed = (Q(batches__state=s) for s in (BatchState.DONE, BatchState.FAILED))
        return rows.select_related("model").annotate(
            items_done=Sum("batches__item_count", filter=done, default=0),
            batches_failed=Count("batches", filter=failed),
        )

    @display(
        description="state",
        label={
            JobState.RUNNING: "info",
            JobState.FINISHED: "success",
            JobState.FAILURES: "danger",
            JobState.CANCELLED: "warning",
        },
    )
    def shown_state(self, job: BatchJob) -> str:
        return job.state

    @display(description="progress")
    def shown_progress(self, job: Any) -> str:
        failed = f", {job.batches_failed} batches failed" if job.batches_failed else ""
        share = 100 * job.items_done / job.item_count
        return f"{job.items_done:,} of {job.item_count:,} items ({share:.0f} %){failed}"

    @display(description="file")
    def source(self, job: BatchJob) -> str:
        return job.source_name

    @display(description="size")
    def size(self, job: BatchJob) -> str:
        return megabytes(job.source_bytes / 2**20)

    @display(description="options")
    def shown_options(self, job: BatchJob) -> SafeString:
        return pretty(job.options)

    @display(description="computed by")
    def browsers(self, job: BatchJob) -> SafeString:
        counts = report.computed_by(job)
        return table(
            ["browser", "attempts"],
            [
                [browser, ", ".join(f"{n} {o}" for o, n in c.items())]
                for browser, c in counts.items()
            ],
        )

    @display(description="download")
    def download(self, job: BatchJob) -> SafeString | str:
        if job.state == JobState.RUNNING:
            return "when the job is at rest"
        link = f"/api/batches/{job.pk}/output/"
        return format_html(
            '<a href="{0}?as=jsonl">JSONL</a> · <a href="{0}?as=npz">npz</a> · '
            '<a href="{0}?as=parquet">Parquet</a>',
            link,
        )

    @action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[BatchJob]) -> None:
        count = sum(jobs.cancel_job(job) for job in _whole(queryset))
        self.message_user(request, f"{count} jobs cancelled")

    @action(description="Go on with what is left")
    def resume(self, request: HttpRequest, queryset: QuerySet[BatchJob]) -> None:
        self._go_on(request, queryset, retry_failed=False)

    @action(description="Try failed batches again")
    def retry_failed(self, request: HttpRequest, queryset: QuerySet[BatchJob]) -> None:
        self._go_on(request, queryset, retry_failed=True)

    def _go_on(
        self, request: HttpRequest, queryset: QuerySet[BatchJob], *, retry_failed: bool
    ) -> None:
        count = 0
        for job in _whole(queryset):
            try:
                count += jobs.resume_job(job, retry_failed=retry_failed)
            except WebpoolError as error:
                self.message_user(request, str(error), messages.ERROR)
        self.message_user(request, f"{count} jobs go on")


def _whole(queryset: QuerySet[BatchJob]) -> QuerySet[BatchJob]:
    """The jobs without the list's annotations."""
    return BatchJob.objects.filter(pk__in=queryset.values("pk")).select_related("model")
