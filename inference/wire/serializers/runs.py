"""Runs: what is asked for, where each stands, what each attempt took, what came out."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.documents import JsonObject
from inference.models import Attempt, Run, RunStep
from inference.runs.metrics import milliseconds, run_metrics
from inference.runs.option_schema import with_options
from inference.runs.options import Door, recorded


class RunSerializer(serializers.ModelSerializer[Run]):
    model: object = serializers.SlugRelatedField(slug_field="name", read_only=True)
    strategy = serializers.CharField(source="plan.strategy")
    num_shards = serializers.IntegerField(source="plan.num_shards")
    data_parallel = serializers.IntegerField(source="plan.data_parallel")
    inference_time_ms = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id", "model", "strategy", "num_shards", "data_parallel", "state", *recorded(), "owner",
            "error_category", "error", "created_at", "deadline_at", "finished_at", "inference_time_ms",
        ]  # fmt: skip

    def get_inference_time_ms(self, row: Run) -> float | None:
        return milliseconds(row.created_at, row.finished_at)


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    class Meta:
        model = Attempt
        exclude = ["id", "shard"]


class RunStepSerializer(serializers.ModelSerializer[RunStep]):
    """Where a shard of a run stands, and every attempt to compute it."""

    run = serializers.UUIDField(source="run_id")
    sha256 = serializers.CharField(source="plan_step.sha256")
    group = serializers.CharField(source="plan_step.group", help_text="part of the model it is")
    attempt_rows = AttemptSerializer(many=True)

    class Meta:
        model = RunStep
        fields = [
            "id", "run", "index", "copy", "group", "sha256", "state", "browser", "attempts", "avoid",
            "ready_at", "queued_at", "claimed_at", "finished_at", "attempt_rows",
        ]  # fmt: skip


class OutputFactsSerializer(serializers.Serializer[object]):
    dtype = serializers.CharField()
    shape = serializers.ListField(child=serializers.IntegerField())
    nbytes = serializers.IntegerField()


class RunDetailSerializer(RunSerializer):
    filled_in = serializers.JSONField()
    outputs = serializers.SerializerMethodField(
        help_text="name → facts; GET …/outputs/ has the data"
    )
    shards = RunStepSerializer(many=True, source="computing")
    metrics = serializers.SerializerMethodField()

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "filled_in", "outputs", "shards", "metrics"]

    @extend_schema_field(serializers.DictField(child=OutputFactsSerializer()))
    def get_outputs(self, row: Run) -> JsonObject:
        return {
            name: {key: ref[key] for key in ("dtype", "shape", "nbytes")}
            for name, ref in row.outputs.items()
        }

    @extend_schema_field(serializers.DictField())
    def get_metrics(self, row: Run) -> JsonObject:
        return run_metrics(row)


class RunInputsSerializer(serializers.Serializer[object]):
    """A run to start. Give either `inputs` or `texts`."""

    model = serializers.CharField()
    inputs = serializers.JSONField(
        required=False,
        help_text="name → nested list, or a list of {name, datatype, shape, data} as in /v2/",
    )
    texts = serializers.ListField(
        child=serializers.CharField(allow_blank=True), required=False, help_text="with a tokenizer"
    )


RunRequestSerializer = with_options("RunRequestSerializer", RunInputsSerializer, Door.RUNS)


class OutputsSerializer(serializers.Serializer[object]):
    model_name = serializers.CharField()
    model_version = serializers.CharField()
    parameters = serializers.DictField()
    outputs = serializers.ListField(child=serializers.DictField())
