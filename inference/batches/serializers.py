"""What /api/batches/ shows and takes."""

from __future__ import annotations

import dataclasses

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.batches import report
from inference.batches.options import JOB_OPTIONS
from inference.documents import JsonObject
from inference.models.batches import Batch, BatchJob, JobState
from inference.runs.option_schema import with_options
from inference.runs.options import OPTIONS, Door


class CountsSerializer(serializers.Serializer[object]):
    """By state."""

    waiting = serializers.IntegerField()
    running = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()


class TogetherSerializer(serializers.Serializer[object]):
    """Whether items share a run."""

    verdict = serializers.CharField(help_text="on the model's rows: proved, tried, no")
    joined = serializers.BooleanField()
    reason = serializers.CharField(
        help_text="why not, or what joining rests on unless it is proved"
    )


class BatchJobSerializer(serializers.ModelSerializer[BatchJob]):
    model = serializers.CharField(source="model.name")
    state = serializers.CharField(help_text=", ".join(JobState.values))
    items = serializers.SerializerMethodField()
    together = serializers.SerializerMethodField()
    batches = serializers.SerializerMethodField()

    class Meta:
        model = BatchJob
        fields = [
            "id", "model", "state", "note", "source_name", "source_sha256", "source_bytes", "source_format",
            "batch_size", "concurrency", "options", "filled_in", "together", "item_count", "batch_count",
            "items", "batches", "owner", "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    def to_representation(self, instance: BatchJob) -> JsonObject:
        self._progress = report.progress(instance)
        return super().to_representation(instance)

    @extend_schema_field(TogetherSerializer)
    def get_together(self, row: BatchJob) -> JsonObject:
        return dataclasses.asdict(report.together(row))

    @extend_schema_field(CountsSerializer)
    def get_items(self, row: BatchJob) -> dict[str, int]:
        return self._progress.items

    @extend_schema_field(CountsSerializer)
    def get_batches(self, row: BatchJob) -> dict[str, int]:
        return self._progress.batches


class FailureSerializer(serializers.Serializer[object]):
    batch = serializers.IntegerField()
    items = serializers.ListField(child=serializers.IntegerField())
    category = serializers.CharField()
    error = serializers.CharField()


class BatchJobDetailSerializer(BatchJobSerializer):
    failures = serializers.SerializerMethodField(help_text="the first failed batches")
    browsers = serializers.SerializerMethodField(
        help_text="browser → attempts by outcome, while the runs are kept"
    )

    class Meta(BatchJobSerializer.Meta):
        fields = [*BatchJobSerializer.Meta.fields, "failures", "browsers"]

    @extend_schema_field(FailureSerializer(many=True))
    def get_failures(self, row: BatchJob) -> list[JsonObject]:
        return report.failures(row)

    @extend_schema_field(serializers.DictField(child=serializers.DictField()))
    def get_browsers(self, row: BatchJob) -> dict[str, dict[str, int]]:
        return report.computed_by(row)


class BatchSerializer(serializers.ModelSerializer[Batch]):
    run = serializers.UUIDField(source="run_id", allow_null=True)
    state = serializers.CharField()

    class Meta:
        model = Batch
        fields = [
            "index", "items", "state", "attempts", "run", "error_category", "error", "claimed_at",
            "finished_at",
        ]  # fmt: skip


class BatchFileSerializer(serializers.Serializer[object]):
    """multipart/form-data."""

    model = serializers.CharField()
    file = serializers.FileField(help_text=".jsonl, .npz or .parquet")


BatchUploadSerializer = with_options(
    "BatchUploadSerializer", BatchFileSerializer, Door.JOBS, (*JOB_OPTIONS, *OPTIONS)
)


class RetrySerializer(serializers.Serializer[object]):
    retry_failed = serializers.BooleanField(default=False)
