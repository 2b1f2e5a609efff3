"""Batch jobs and their batches: a form to start one, then rows that the engine owns, with actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
)

from browsers.admin import ReadOnly, Rows
from inference import auth
from inference.admin.adding import AddedByForm
from inference.admin.audit import Audited
from inference.admin.options import option_fields
from inference.admin.renewed import Renewed
from inference.admin.steering import steer
from inference.batches import jobs, report
from inference.batches.options import JOB_OPTIONS
from inference.batches.uploads import job_from_upload
from inference.documents import JsonObject
from inference.errors import WebpoolError
from inference.models import OnnxModel
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.runs.options import OPTIONS, Door, options_of
from inference.store.paths import sayable
from webpool_site.telling import units
from webpool_site.telling.columns import Fieldsets, told_fieldsets
from webpool_site.telling.outline import outline


class StartForm(forms.ModelForm):
    """A file and a model; what is wrong with the file is the form's error."""

    model = forms.ModelChoiceField(
        queryset=OnnxModel.objects.all(), widget=UnfoldAdminSelectWidget()
    )
    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget(), help_text=".jsonl, .npz or .parquet"
    )
    owner = ""  # the class that a request gets knows who asks

    class Meta:
        model = BatchJob
        fields = ["model"]

    def _post_clean(self) -> None:
        """Create the job where Django would build the row."""
        if self.errors:
            return
        given = self.cleaned_data
        try:
            self.instance, _ = job_from_upload(
                given["file"],
                model=given["model"].name,
                owner=self.owner,
                given={
                    name: value for name, value in given.items() if name not in ("file", "model")
                },
            )
        except WebpoolError as error:
            self.add_error(None, sayable(str(error)))

    def save(self, commit: bool = True) -> BatchJob:
        self.save_m2m = lambda: None  # type: ignore[method-assign]
        return self.instance


class BatchInline(Rows):
    model = Batch
    per_page = 20  # with what went wrong, each is a paragraph
    fields = [
        "index", "item_range", "state", "attempts", "run_link", "error_category", "error", "finished_at",
    ]  # fmt: skip

    @display(description="items")
    def item_range(self, batch: Batch) -> str:
        return f"{batch.items[0]} … {batch.items[-1]} ({batch.item_count})"

    @display(description="run")
    def run_link(self, batch: Batch) -> SafeString | str:
        if batch.run_id is None:
            return "-"
        link = reverse("admin:inference_run_change", args=[batch.run_id])
        return format_html('<a class="wp-link" href="{}">{}</a>', link, str(batch.run_id)[:8])


@admin.register(BatchJob)
class BatchJobAdmin(AddedByForm, Audited, ReadOnly, Renewed[BatchJob]):
    list_display = ["id", "model", "shown_state", "shown_progress", "source", "owner", "created_at"]
    list_filter = ["state", "model", "source_format"]
    search_fields = ["id", "owner", "source_name", "source_sha256"]
    actions = ["cancel", "resume", "retry_failed"]
    part_template = "inference/batch_job.html"
    fieldsets = [
        (None, {"fields": ["id", "model", "owner"]}),
        ("Input", {"fields": ["source", "source_sha256", "size", "source_format", "filled_in"]}),
        ("Asked for", {"fields": ["batch_size", "concurrency", "shown_options"]}),
        ("Times", {"fields": ["created_at", "started_at", "finished_at"]}),
    ]

    add_fieldsets = [
        (None, {"fields": ["model", "file", *(option.name for option in JOB_OPTIONS)]}),
        ("Its runs", {"fields": [option.name for option in options_of(Door.JOBS)]}),
    ]

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """As at every door; `ReadOnly` allows nobody."""
        return auth.allows(auth.person(request), auth.START_BATCH_JOB)

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> Fieldsets:
        return told_fieldsets(BatchJob, self.fieldsets) if obj else self.add_fieldsets

    def get_form(
        self, request: HttpRequest, obj: object = None, change: bool = False, **kw: object
    ) -> object:
        if obj:
            return super().get_form(request, obj, change, **kw)
        fields = option_fields(Door.JOBS, (*JOB_OPTIONS, *OPTIONS))
        return type("StartForm", (StartForm,), {**fields, "owner": request.user.get_username()})

    def get_inlines(self, request: HttpRequest, obj: object) -> object:
        return [BatchInline] if obj else []

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

    def part(self, row: BatchJob) -> JsonObject:
        return {
            "job": row,
            "progress": self.shown_progress(row),
            "browsers": report.computed_by(row),
        }

    def changes(self, row: BatchJob) -> bool:
        return row.state == JobState.RUNNING

    @display(description="size")
    def size(self, job: BatchJob) -> str:
        return units.size(job.source_bytes)

    @display(description="options")
    def shown_options(self, job: BatchJob) -> SafeString:
        return outline(job.options)

    @action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[BatchJob]) -> None:
        count = self._steer(request, queryset, "cancel", jobs.cancel_job)
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
        count = self._steer(
            request,
            queryset,
            "resume",
            lambda job: jobs.resume_job(job, retry_failed=retry_failed),
        )
        self.message_user(request, f"{count} jobs go on")

    def _steer(
        self,
        request: HttpRequest,
        queryset: QuerySet[BatchJob],
        name: str,
        do: Callable[[BatchJob], bool],
    ) -> int:
        return steer(self, request, _whole(queryset), name, do, permission=auth.CHANGE_BATCH_JOB)


def _whole(queryset: QuerySet[BatchJob]) -> QuerySet[BatchJob]:
    """The jobs without the list's annotations."""
    return BatchJob.objects.filter(pk__in=queryset.values("pk")).select_related("model")
