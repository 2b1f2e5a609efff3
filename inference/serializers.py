"""What /api/ shows of rows and live state; what nobody measured is null."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from browsers import breakers
from browsers.connections import loaded_models
from browsers.live import LiveBrowser
from browsers.models import Browser, Incident
from inference.graph.batch_axis import Verdict
from inference.metrics import milliseconds, run_metrics
from inference.models import (
    Attempt,
    ModelType,
    OnnxModel,
    Plan,
    PlanShard,
    Redundancy,
    Run,
    RunShard,
    Strategy,
)


class ErrorSerializer(serializers.Serializer[Any]):
    """Every refusal and failure."""

    error = serializers.CharField()
    category = serializers.CharField()
    run = serializers.CharField(required=False)


# --- browsers ---------------------------------------------------------------------


class LoadedSerializer(serializers.Serializer[Any]):
    sha256 = serializers.CharField()
    name = serializers.CharField(allow_null=True, help_text="the model or shard with these bytes")
    backend = serializers.CharField()
    bytes = serializers.IntegerField()
    compute_ms = serializers.FloatField(allow_null=True)
    leak_mb = serializers.FloatField(
        allow_null=True, help_text="growth of the browser with each run of it; null: not known"
    )
    known_answer = serializers.BooleanField(
        allow_null=True,
        help_text="whether idle browsers are asked for a known answer; null: not yet",
    )
    confirmed_at = serializers.FloatField(
        allow_null=True, help_text="when its known answer was last right; Unix time; null: not yet"
    )


class BreakerSerializer(serializers.Serializer[Any]):
    """A circuit breaker: closed, open until `half_open_at`, or half_open, with one probe at a time."""

    state = serializers.CharField()
    failures = serializers.IntegerField(help_text="in a row, while closed")
    half_open_at = serializers.FloatField(allow_null=True, help_text="Unix time; null unless open")
    cooldown_s = serializers.FloatField(allow_null=True, help_text="of the latest opening")
    probing = serializers.BooleanField()


class ModelBreakerSerializer(BreakerSerializer):
    sha256 = serializers.CharField()


class BreakersSerializer(BreakerSerializer):
    """The browser's breaker, and those of models in it that are not spotless."""

    models = ModelBreakerSerializer(many=True)


class LiveSerializer(serializers.Serializer[Any]):
    """What the browser's worker said last; null as a whole when its lease has run out, or is not known."""

    state = serializers.CharField()
    heartbeat_age_ms = serializers.FloatField()
    memory_mb = serializers.FloatField(allow_null=True)
    memory_limit_mb = serializers.FloatField(allow_null=True)
    page_mb = serializers.FloatField(allow_null=True, help_text="as the page measures itself")
    js_heap_mb = serializers.FloatField(allow_null=True, help_text="Chromium's")
    resident_bytes = serializers.IntegerField()
    short_of_memory = serializers.BooleanField(
        help_text="it will make room between two tasks; others are preferred meanwhile"
    )
    loaded = LoadedSerializer(many=True)


def live_facts(live: LiveBrowser | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Live state as JSON; `names` says which model or shard a file is."""
    if live is None:
        return None
    return {
        "state": live.state,
        "heartbeat_age_ms": max(0.0, (time.time() - live.heartbeat) * 1000),
        "memory_mb": live.memory_mb,
        "page_mb": live.page_mb,
        "js_heap_mb": live.js_heap_mb,
        "memory_limit_mb": live.memory_limit_mb,
        "resident_bytes": live.resident_bytes,
        "short_of_memory": live.short_of_memory,
        "loaded": loaded_models(live, names),
    }


def file_names(files: set[str]) -> dict[str, str]:
    """SHA-256 → the model, or the shard of a plan, that has these bytes."""
    shards = PlanShard.objects.filter(sha256__in=files).select_related("plan__model")
    names = {shard.sha256: str(shard) for shard in shards}
    names.update(OnnxModel.objects.filter(sha256__in=files).values_list("sha256", "name"))
    return names


class IncidentSerializer(serializers.ModelSerializer[Incident]):
    class Meta:
        model = Incident
        fields = ["at", "category", "message", "rung", "repaired", "duration_ms", "reclaimed_mb"]


class BrowserSerializer(serializers.ModelSerializer[Browser]):
    """Context: `living` and `breakers` (by id, None: not known), and `names` (as `file_names`)."""

    breaker = serializers.SerializerMethodField()
    live = serializers.SerializerMethodField()
    live_unknown = serializers.SerializerMethodField(
        help_text="true: Redis does not answer, so nobody knows whether the browser lives"
    )

    class Meta:
        model = Browser
        fields = [
            "id", "kind", "family", "state", "reason", "version", "driver_version", "user_agent", "host",
            "zone", "cores", "system_memory_mb", "gpu", "memory_limit_mb", "backends", "starts",
            "repairs", "state_changed_at", "drained_at", "drain_reason", "breaker",
            "live", "live_unknown",
        ]  # fmt: skip

    @extend_schema_field(BreakersSerializer(allow_null=True))
    def get_breaker(self, row: Browser) -> dict[str, Any] | None:
        known = self.context["breakers"]
        return None if known is None else breakers.describe(known[row.pk], time.time())

    @extend_schema_field(LiveSerializer(allow_null=True))
    def get_live(self, row: Browser) -> dict[str, Any] | None:
        return live_facts((self.context["living"] or {}).get(row.pk), self.context["names"])

    def get_live_unknown(self, row: Browser) -> bool:
        return self.context["living"] is None


class DrainRequestSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class DrainingSerializer(serializers.Serializer[Any]):
    browser = serializers.CharField()
    moved = serializers.IntegerField(help_text="shards that waited for it and went to others")
    left = serializers.IntegerField(
        help_text="shards that it still computes, or that no other browser may take"
    )
    others = serializers.IntegerField(help_text="browsers of the pool that still take shards")


class UndrainedSerializer(serializers.Serializer[Any]):
    browser = serializers.CharField()
    was_drained = serializers.BooleanField()


class BrowserDetailSerializer(BrowserSerializer):
    incidents = serializers.SerializerMethodField(help_text="the last 50")

    class Meta(BrowserSerializer.Meta):
        fields = [*BrowserSerializer.Meta.fields, "incidents"]

    @extend_schema_field(IncidentSerializer(many=True))
    def get_incidents(self, row: Browser) -> Any:
        return IncidentSerializer(row.incidents.all()[:50], many=True).data


# --- models and plans ---------------------------------------------------------------------


class BatchAxisSerializer(serializers.Serializer[Any]):
    """Whether a batch may be split by rows."""

    verdict = serializers.ChoiceField(choices=[str(verdict) for verdict in Verdict])
    inputs = serializers.ListField(
        child=serializers.CharField(), help_text="those split on their first axis"
    )
    reason = serializers.CharField(help_text="why it is not proved")
    tried = serializers.ListField(
        child=serializers.IntegerField(), help_text="rows that ran together and apart, and agreed"
    )


class ModelSerializer(serializers.ModelSerializer[OnnxModel]):
    batch_axis = BatchAxisSerializer(read_only=True)

    class Meta:
        model = OnnxModel
        fields = [
            "name", "model_type", "sha256", "file_bytes", "weight_bytes", "node_count", "max_shards",
            "batch_axis", "inputs", "outputs", "components", "tokenizer", "created_at",
        ]  # fmt: skip


class ModelDetailSerializer(ModelSerializer):
    class Meta(ModelSerializer.Meta):
        fields = [*ModelSerializer.Meta.fields, "summary"]


class ModelUploadSerializer(serializers.Serializer[Any]):
    """multipart/form-data. Give either `file` or `manifest`."""

    file = serializers.FileField(required=False, help_text="the ONNX file")
    manifest = serializers.FileField(
        required=False, help_text="how several files make a model, as JSON; see ManifestRequest"
    )
    name = serializers.CharField(max_length=128)
    model_type = serializers.ChoiceField(choices=ModelType.choices, default=ModelType.OTHER)
    tokenizer = serializers.FileField(required=False, help_text="tokenizer.json")
    components = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text="the ONNX files that the manifest names",
    )
    external_data = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text="the files that the ONNX files name",
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if ("file" in given) == ("manifest" in given):
            raise serializers.ValidationError("expected either 'file' or 'manifest'")
        if "file" in given and given.get("components"):
            raise serializers.ValidationError(
                "'components' go with a 'manifest', not with a 'file'"
            )
        return given


class ManifestRequestSerializer(serializers.Serializer[Any]):
    """application/json: a model that is made of registered ones."""

    name = serializers.CharField(max_length=128)
    model_type = serializers.ChoiceField(choices=ModelType.choices, default=ModelType.OTHER)
    manifest = serializers.DictField(
        help_text="{inputs, outputs, components: [{name, model, inputs, outputs}]}, or Triton's model "
        "configuration with ensemble_scheduling"
    )


class PlanShardSerializer(serializers.ModelSerializer[PlanShard]):
    crossing = serializers.SerializerMethodField(
        help_text="inputs that come from earlier shards, not from the caller"
    )

    class Meta:
        model = PlanShard
        fields = [
            "index", "group", "part", "sha256", "file_bytes", "weight_bytes", "copied_bytes", "cost",
            "node_count", "depends_on", "inputs", "outputs", "crossing",
        ]  # fmt: skip

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_crossing(self, row: PlanShard) -> list[dict[str, Any]]:
        return crossing(row)


def crossing(shard: PlanShard) -> list[dict[str, Any]]:
    """The tensors that a shard takes from earlier shards."""
    callers = {port["name"] for port in shard.plan.model.inputs}
    return [port for port in shard.inputs if port.get("tensor", port["name"]) not in callers]


class PlanJoinSerializer(serializers.ModelSerializer[PlanShard]):
    """What the control worker puts together; it is numbered with the shards."""

    class Meta:
        model = PlanShard
        fields = ["index", "group", "depends_on", "outputs", "join"]


class PlanSerializer(serializers.ModelSerializer[Plan]):
    model: Any = serializers.SlugRelatedField(slug_field="name", read_only=True)
    shards = PlanShardSerializer(many=True, source="computing")
    joins = PlanJoinSerializer(many=True, source="joining")

    class Meta:
        model = Plan
        fields = [
            "id", "model", "model_sha256", "strategy", "num_shards", "data_parallel", "created_at", "shards",
            "joins",
        ]  # fmt: skip


class PlanRequestSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    strategy = serializers.ChoiceField(
        choices=Strategy.choices,
        required=False,
        help_text="left out: component for a model of components, else layer",
    )
    shards = serializers.IntegerField(
        required=False, min_value=1, help_text="2, unless graph or components decide"
    )
    data_parallel = serializers.IntegerField(required=False, min_value=1, default=1)
    allow_unproved_split = serializers.BooleanField(
        default=False, help_text="split a batch even where its rows were tried, not proved"
    )


# --- runs ---------------------------------------------------------------------


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
