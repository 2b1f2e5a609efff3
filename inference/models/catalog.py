"""Registered models and their plans: how each is cut."""

from __future__ import annotations

import functools

from django.db import models

from inference.core.ports import Joined, Port, read_ports
from inference.graph.batching.batch_axis import BatchAxis


class ModelType(models.TextChoices):
    TEXT = "text"
    TEXT_EMBEDDING = "text_embedding"
    VISION = "vision"
    AUDIO = "audio"
    MULTIMODAL = "multimodal"
    OTHER = "other"


class OnnxModel(models.Model):
    """A registered ONNX model; its bytes are the immutable file named by `sha256`.

    A model made of components has a file for each, and `sha256` stands for files and wiring together.
    """

    name = models.SlugField(unique=True, max_length=128)
    model_type = models.CharField(max_length=16, choices=ModelType.choices, default=ModelType.OTHER)
    sha256 = models.CharField(max_length=64)
    file_bytes = models.PositiveBigIntegerField()
    weight_bytes = models.PositiveBigIntegerField()
    node_count = models.PositiveIntegerField()
    max_shards = models.PositiveIntegerField()
    batch_axis = models.JSONField(
        help_text="whether a batch may be split: proved, tried with these sizes, or no; and why"
    )
    inputs = models.JSONField(help_text="name, dtype, shape and declared default of each input")
    outputs = models.JSONField(help_text="name, dtype and shape of each output")
    summary = models.JSONField(help_text="what was read from the graph: opsets, operators, cuts")
    components = models.JSONField(
        default=list,
        blank=True,
        help_text="for a model of several files: name, file and wiring of each, in the order they run",
    )
    tokenizer = models.CharField(max_length=64, blank=True, help_text="SHA-256 of tokenizer.json")
    decoder = models.JSONField(
        null=True,
        blank=True,
        help_text="of a model that writes text: layers, states, context, chat template; null: it does not",
    )
    expectations = models.JSONField(
        default=dict, blank=True, help_text="webpool.json: what people give it and get from it"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def batch(self) -> BatchAxis:
        """Whether a batch may be split."""
        return BatchAxis.from_json(self.batch_axis)

    @functools.cached_property
    def input_ports(self) -> tuple[Port, ...]:
        return read_ports(self.inputs)

    @functools.cached_property
    def output_ports(self) -> tuple[Port, ...]:
        return read_ports(self.outputs)


class Strategy(models.TextChoices):
    NONE = "none"
    LAYER = "layer"
    ATTENTION_FEEDFORWARD = "attention_feedforward"
    TENSOR = "tensor"
    DATA = "data"
    COMPONENT = "component"
    DECODER = "decoder"  # stages of a decoder, each with the caches of its layers
    AUTO = "auto"  # asked for; the plan that is chosen has another


class Plan(models.Model):
    """A model cut in one way. Same model, strategy and numbers: same plan, same files.

    `num_shards` are those of one copy, `data_parallel` is how many copies of them share a batch.
    """

    model = models.ForeignKey(OnnxModel, on_delete=models.CASCADE, related_name="plans")
    model_sha256 = models.CharField(max_length=64)
    strategy = models.CharField(max_length=32, choices=Strategy.choices)
    num_shards = models.PositiveIntegerField()
    data_parallel = models.PositiveIntegerField(
        default=1, help_text="over how many copies of the cut model a batch is split"
    )
    tenant = models.CharField(
        max_length=160, blank=True, help_text="user or API key for whom it was cut first"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    is_new = False  # of the object that is returned to whom it was cut for

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "model_sha256", "strategy", "num_shards", "data_parallel"],
                name="one_plan_each",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.way}"

    @property
    def way(self) -> str:
        """How it is cut, for people: "whole", "layer×2", "data×3 of layer×2"."""
        copies = f"data×{self.data_parallel} of " if self.data_parallel > 1 else ""
        cut = "whole" if self.strategy == Strategy.NONE else f"{self.strategy}×{self.num_shards}"
        return f"{copies}{cut}"

    @property
    def computing(self) -> list[PlanStep]:
        """The steps that browsers do: the plan's shards."""
        return [step for step in self.shards.all() if step.kind == StepKind.COMPUTE]

    @property
    def joining(self) -> list[PlanStep]:
        """The steps that the control worker does."""
        return [step for step in self.shards.all() if step.kind == StepKind.JOIN]


class StepKind(models.TextChoices):
    COMPUTE = "compute", "a file, run in a browser"
    JOIN = "join", "parts joined by the control worker"


class PlanStep(models.Model):
    """One step of a plan: the file a browser loads, or how parts are joined; and what must come before.

    A port says under which name its tensor is known to the run (`tensor`) where that is not its own.
    """

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="shards")
    index = models.PositiveIntegerField()
    kind = models.CharField(max_length=8, choices=StepKind.choices, default=StepKind.COMPUTE)
    group = models.CharField(max_length=64, blank=True, help_text="which part of the model it is")
    part = models.PositiveIntegerField(
        null=True, help_text="steps with the same one belong in one browser: tensor plans"
    )
    batch_part = models.PositiveIntegerField(
        null=True, help_text="which part of a split batch it computes; null: the whole batch"
    )
    work_type = models.CharField(
        max_length=16,
        blank=True,
        help_text="what history compares it with and placement asks for: blank: the model's type",
    )
    sha256 = models.CharField(max_length=64, blank=True)
    file_bytes = models.PositiveBigIntegerField(default=0)
    weight_bytes = models.PositiveBigIntegerField(default=0)
    copied_bytes = models.PositiveBigIntegerField(default=0)
    cost = models.FloatField(
        default=0.0, help_text="estimated work, relative to the plan's other shards"
    )
    inputs = models.JSONField(default=list)
    outputs = models.JSONField()
    join = models.JSONField(
        default=list, help_text="for each joined tensor: tensor, op, axis and parts [step, tensor]"
    )
    depends_on = models.JSONField(default=list, help_text="indices of earlier steps")
    node_count = models.PositiveIntegerField(default=0)
    usual = models.JSONField(
        default=list, help_text="what is odd about its outputs, but so in two browsers"
    )
    crossing_bytes = models.PositiveBigIntegerField(
        default=0, help_text="of inputs that earlier steps make, at example sizes"
    )

    stage = models.JSONField(
        null=True,
        blank=True,
        help_text="of a decoder's file: its states and what fills its other inputs; null: no such file",
    )

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["plan", "index"], name="one_shard_each")]

    def __str__(self) -> str:
        return f"{self.plan} #{self.index}"

    @functools.cached_property
    def input_ports(self) -> tuple[Port, ...]:
        return read_ports(self.inputs)

    @functools.cached_property
    def output_ports(self) -> tuple[Port, ...]:
        return read_ports(self.outputs)

    @property
    def joined(self) -> tuple[Joined, ...]:
        """What a join makes."""
        return tuple(Joined.from_json(item) for item in self.join)

    @functools.cached_property
    def tensor_of(self) -> dict[str, str]:
        """Under which name the run knows what each of its outputs makes."""
        return {port.name: port.tensor for port in self.output_ports}
