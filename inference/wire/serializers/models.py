"""Models and how they were cut: what was read from their graphs, plans with their shards and joins."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from browsers.models import BackendProof
from inference.documents import JsonObject
from inference.graph.batching.batch_axis import Verdict
from inference.models import ModelType, OnnxModel, Plan, PlanStep
from inference.runs.option_schema import with_options
from inference.runs.options import Door


class BatchAxisSerializer(serializers.Serializer[object]):
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


class BackendProofSerializer(serializers.ModelSerializer[BackendProof]):
    """What a backend of one build of a browser answered when a file was tried on it."""

    class Meta:
        model = BackendProof
        fields = [
            "sha256", "kind", "version", "runtime", "host", "backend", "adapter", "shapes", "verdict",
            "reason", "cases", "at",
        ]  # fmt: skip


class ModelDetailSerializer(ModelSerializer):
    proofs = serializers.SerializerMethodField(
        help_text="of the model's file and of its plans' files: which backends answered them right"
    )

    class Meta(ModelSerializer.Meta):
        fields = [*ModelSerializer.Meta.fields, "expectations", "summary", "proofs"]

    @extend_schema_field(BackendProofSerializer(many=True))
    def get_proofs(self, row: OnnxModel) -> object:
        files = {row.sha256, *(item["sha256"] for item in row.components)}
        cut = PlanStep.objects.filter(plan__model=row).exclude(sha256="")
        files |= set(cut.values_list("sha256", flat=True))
        return BackendProofSerializer(BackendProof.objects.filter(sha256__in=files), many=True).data


class ModelUploadSerializer(serializers.Serializer[object]):
    """multipart/form-data. Give either `file` or `manifest`."""

    file = serializers.FileField(required=False, help_text="the ONNX file")
    manifest = serializers.FileField(
        required=False, help_text="how several files make a model, as JSON; see ManifestRequest"
    )
    name = serializers.CharField(max_length=128)
    model_type = serializers.ChoiceField(choices=ModelType.choices, default=ModelType.OTHER)
    tokenizer = serializers.FileField(required=False, help_text="tokenizer.json")
    expectations = serializers.FileField(
        required=False, help_text="webpool.json: what people give it and get from it"
    )
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
    overrides = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="weights that the file lists as inputs, to be given with every request",
    )

    def validate(self, given: JsonObject) -> JsonObject:
        if ("file" in given) == ("manifest" in given):
            raise serializers.ValidationError("expected either 'file' or 'manifest'")
        if "manifest" in given and given.get("overrides"):
            raise serializers.ValidationError("'overrides' go with a 'file', not with a 'manifest'")
        if "file" in given and given.get("components"):
            raise serializers.ValidationError(
                "'components' go with a 'manifest', not with a 'file'"
            )
        return given


class ManifestRequestSerializer(serializers.Serializer[object]):
    """application/json: a model that is made of registered ones."""

    name = serializers.CharField(max_length=128)
    model_type = serializers.ChoiceField(choices=ModelType.choices, default=ModelType.OTHER)
    manifest = serializers.DictField(
        help_text="{inputs, outputs, components: [{name, model, inputs, outputs}]}, or Triton's model "
        "configuration with ensemble_scheduling"
    )


class PlanStepSerializer(serializers.ModelSerializer[PlanStep]):
    crossing = serializers.SerializerMethodField(
        help_text="inputs that come from earlier shards, not from the caller"
    )

    class Meta:
        model = PlanStep
        fields = [
            "index", "group", "part", "sha256", "file_bytes", "weight_bytes", "copied_bytes", "cost",
            "node_count", "depends_on", "inputs", "outputs", "crossing",
        ]  # fmt: skip

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_crossing(self, row: PlanStep) -> list[JsonObject]:
        return crossing(row)


def crossing(shard: PlanStep) -> list[JsonObject]:
    """The tensors that a shard takes from earlier shards."""
    callers = {port.name for port in shard.plan.model.input_ports}
    ports = zip(shard.inputs, shard.input_ports, strict=True)
    return [item for item, port in ports if port.tensor not in callers]


class PlanJoinSerializer(serializers.ModelSerializer[PlanStep]):
    """What the control worker puts together; it is numbered with the shards."""

    class Meta:
        model = PlanStep
        fields = ["index", "group", "depends_on", "outputs", "join"]


class PlanSerializer(serializers.ModelSerializer[Plan]):
    model: object = serializers.SlugRelatedField(slug_field="name", read_only=True)
    shards = PlanStepSerializer(many=True, source="computing")
    joins = PlanJoinSerializer(many=True, source="joining")

    class Meta:
        model = Plan
        fields = [
            "id", "model", "model_sha256", "strategy", "num_shards", "data_parallel", "created_at", "shards",
            "joins",
        ]  # fmt: skip


class PlanOfSerializer(serializers.Serializer[object]):
    model = serializers.CharField()


PlanRequestSerializer = with_options("PlanRequestSerializer", PlanOfSerializer, Door.PLANS)
