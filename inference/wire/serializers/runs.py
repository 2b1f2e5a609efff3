"""Runs: what is asked for, where each stands, what each attempt took, what came out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.models import Attempt, Redundancy, Run, RunShard, Strategy
from inference.runs.metrics import milliseconds, run_metrics


class RunSerializer(serializers.ModelSerializer[Run]):
    model: Any = serializers.SlugRelatedField(slug_field="name", read_only=True)
    strategy = serializers.CharField(source="plan.strategy")
    num_shards = serializers.IntegerField(source="plan.num_shards")
    data_parallel = serializers.IntegerField(source="plan.data_parallel")
    inference_time_ms = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id", "model", "strategy", "num_shards", "data_parallel", "state", "platform", "strict",
            "critical", "redundancy", "browsers", "pins", "max_retries", "owner", "error_category", "error",
            "created_at", "deadline_at", "finished_at", "inference_time_ms",
        ]  # fmt: skip

    def get_inference_time_ms(self, row: Run) -> float | None:
        return milliseconds(row.created_at, row.finished_at)


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    class Meta:
        model = Attempt
        exclude = ["id", "shard"]


class RunShardSerializer(serializers.ModelSerializer[RunShard]):
    """Where a shard of a run stands, and every attempt to compute it."""

    run = serializers.UUIDField(source="run_id")
    sha256 = serializers.CharField(source="plan_shard.sha256")
    group = serializers.CharField(source="plan_shard.group", help_text="part of the model it is")
    attempt_rows = AttemptSerializer(many=True)

    class Meta:
        model = RunShard
        fields = [
            "id", "run", "index", "copy", "group", "sha256", "state", "browser", "attempts", "avoid",
            "ready_at", "queued_at", "claimed_at", "finished_at", "attempt_rows",
        ]  # fmt: skip


class OutputFactsSerializer(serializers.Serializer[Any]):
    dtype = serializers.CharField()
    shape = serializers.ListField(child=serializers.IntegerField())
    nbytes = serializers.IntegerField()


class RunDetailSerializer(RunSerializer):
    filled_in = serializers.JSONField()
    outputs = serializers.SerializerMethodField(
        help_text="name → facts; GET …/outputs/ has the data"
    )
    shards = RunShardSerializer(many=True, source="computing")
    metrics = serializers.SerializerMethodField()

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "filled_in", "outputs", "shards", "metrics"]

    @extend_schema_field(serializers.DictField(child=OutputFactsSerializer()))
    def get_outputs(self, row: Run) -> dict[str, Any]:
        return {
            name: {key: ref[key] for key in ("dtype", "shape", "nbytes")}
            for name, ref in row.outputs.items()
        }

    @extend_schema_field(serializers.DictField())
    def get_metrics(self, row: Run) -> dict[str, Any]:
        return run_metrics(row)


class RunRequestSerializer(serializers.Serializer[Any]):
    """A run to start. Give either `inputs` or `texts`."""

    model = serializers.CharField()
    inputs = serializers.JSONField(
        required=False,
        help_text="name → nested list, or a list of {name, datatype, shape, data} as in /v2/",
    )
    texts = serializers.ListField(
        child=serializers.CharField(allow_blank=True), required=False, help_text="with a tokenizer"
    )
    strategy = serializers.ChoiceField(choices=Strategy.choices, required=False)
    shards = serializers.IntegerField(required=False)
    data_parallel = serializers.IntegerField(
        required=False, help_text="over how many copies of the cut model a batch is split"
    )
    platform = serializers.CharField(required=False, allow_blank=True)
    browsers = serializers.ListField(child=serializers.CharField(), required=False)
    pins = serializers.DictField(child=serializers.CharField(), required=False)
    max_retries = serializers.IntegerField(required=False)
    deadline_s = serializers.FloatField(required=False)
    strict = serializers.BooleanField(required=False)
    critical = serializers.BooleanField(
        required=False, help_text="spread its shards over browser families, then zones"
    )
    redundancy = serializers.ChoiceField(
        choices=Redundancy.choices, required=False,
        help_text="compute each shard in two browsers: first (answer counts), compare (they must agree)",
    )  # fmt: skip
    allow_unproved_split = serializers.BooleanField(
        required=False, help_text="split a batch even where its rows were tried, not proved"
    )


class OutputsSerializer(serializers.Serializer[Any]):
    model_name = serializers.CharField()
    model_version = serializers.CharField()
    parameters = serializers.DictField()
    outputs = serializers.ListField(child=serializers.DictField())
