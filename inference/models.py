"""The ledger: models, plans, runs, their shards, and every attempt to compute one.

A shard moves waiting → ready → queued → running → done | failed | cancelled. Every dispatch raises its
`fence`; a claim or a result that carries an older fence changes nothing.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from inference.graph.batch_axis import BatchAxis


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
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def batch(self) -> BatchAxis:
        """Whether a batch may be split."""
        return BatchAxis.from_json(self.batch_axis)


class Strategy(models.TextChoices):
    NONE = "none"
    LAYER = "layer"
    ATTENTION_FEEDFORWARD = "attention_feedforward"
    TENSOR = "tensor"
    DATA = "data"
    COMPONENT = "component"
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
    created_at = models.DateTimeField(auto_now_add=True)

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
        """How it is cut, for people: "layer×2", "data×3 of layer×2"."""
        copies = f"data×{self.data_parallel} of " if self.data_parallel > 1 else ""
        return f"{copies}{self.strategy}×{self.num_shards}"

    @property
    def computing(self) -> list[PlanShard]:
        """The steps that browsers do: the plan's shards."""
        return [step for step in self.shards.all() if step.kind == StepKind.COMPUTE]

    @property
    def joining(self) -> list[PlanShard]:
        """The steps that the control worker does."""
        return [step for step in self.shards.all() if step.kind == StepKind.JOIN]


class StepKind(models.TextChoices):
    COMPUTE = "compute", "a file, run in a browser"
    JOIN = "join", "parts joined by the control worker"


class PlanShard(models.Model):
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

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["plan", "index"], name="one_shard_each")]

    def __str__(self) -> str:
        return f"{self.plan} #{self.index}"

    @property
    def tensor_of(self) -> dict[str, str]:
        """Under which name the run knows what each of its outputs makes."""
        return {port["name"]: port.get("tensor", port["name"]) for port in self.outputs}


class Redundancy(models.TextChoices):
    """Every shard is computed in two browsers, and …"""

    NONE = "", "no"
    FIRST = "first", "the first answer counts"
    COMPARE = "compare", "both answers must agree"


class RunState(models.TextChoices):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunQuerySet(models.QuerySet["Run"]):
    def active(self) -> RunQuerySet:
        return self.filter(state=RunState.RUNNING)


class Run(models.Model):
    """One request for an answer."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(OnnxModel, on_delete=models.CASCADE, related_name="runs")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=16, choices=RunState.choices, default=RunState.RUNNING)
    platform = models.CharField(max_length=16, blank=True, help_text="asked for; blank: any")
    strict = models.BooleanField(default=False)
    critical = models.BooleanField(
        default=False, help_text="its shards are spread over browser families, then zones"
    )
    redundancy = models.CharField(
        max_length=8, blank=True, choices=Redundancy.choices,
        help_text="each shard is computed in two browsers: the first answer counts, or both must agree",
    )  # fmt: skip
    pins = models.JSONField(default=dict, help_text='shard index → "browser[/platform]"')
    browsers = models.JSONField(default=list, help_text="only these; empty: any")
    max_retries = models.PositiveIntegerField()
    inputs = models.JSONField(help_text="name → where the tensor is (no bytes here)")
    outputs = models.JSONField(default=dict)
    filled_in = models.JSONField(default=list, help_text="inputs and axes that were added for it")
    prediction = models.JSONField(
        null=True, help_text="strategy auto: what was chosen, and the times it was expected to take"
    )
    selection = models.JSONField(
        null=True,
        help_text="where nobody asked for a browser: who chose, what, and with which probability",
    )
    error_category = models.CharField(max_length=32, blank=True)
    error = models.TextField(blank=True)
    owner = models.CharField(max_length=64, blank=True, help_text="user or API key")
    created_at = models.DateTimeField(db_index=True)
    deadline_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, db_index=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["deadline_at"], name="run_active", condition=Q(state="running"))
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def computing(self) -> list[RunShard]:
        """The steps that browsers do: the run's shards."""
        return [step for step in self.shards.all() if step.kind == StepKind.COMPUTE]

    @property
    def joining(self) -> list[RunShard]:
        """The steps that the control worker does."""
        return [step for step in self.shards.all() if step.kind == StepKind.JOIN]


class ShardState(models.TextChoices):
    WAITING = "waiting", "waiting for what it depends on"
    READY = "ready", "ready, no browser yet"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDER_WAY = (ShardState.QUEUED, ShardState.RUNNING)


class RunShard(models.Model):
    """One step of one run; the row that workers claim. Joins have no attempts and no browser.

    With `Redundancy.FIRST` a shard has two rows, its copies; when one is done the other is cancelled.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="shards")
    plan_shard = models.ForeignKey(PlanShard, on_delete=models.CASCADE, related_name="+")
    index = models.PositiveIntegerField()
    copy = models.PositiveSmallIntegerField(default=0, help_text="0, or 1: the same once more")
    kind = models.CharField(max_length=8, choices=StepKind.choices, help_text="as in its plan")
    state = models.CharField(max_length=16, choices=ShardState.choices)
    fence = models.PositiveIntegerField(default=0, help_text="raised at every dispatch")
    attempts = models.PositiveIntegerField(default=0, help_text="claims so far")
    browser = models.CharField(max_length=64, blank=True, help_text="where it was sent")
    avoid = models.JSONField(default=dict, help_text="browser on which it failed → category")
    doubt = models.JSONField(
        null=True, help_text="answers that another browser is asked to confirm, and why"
    )
    outputs = models.JSONField(default=dict)
    ready_at = models.DateTimeField(null=True)
    queued_at = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["index", "copy"]
        constraints = [
            models.UniqueConstraint(fields=["run", "index", "copy"], name="one_run_shard_each")
        ]
        indexes = [
            models.Index(
                fields=["state", "browser"],
                name="shard_outstanding",
                condition=Q(state__in=["ready", "queued", "running"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id} #{self.index}" + ("b" if self.copy else "")

    @property
    def doubted_as(self) -> str:
        """Why another browser is asked to confirm what was answered; "": nothing is to be confirmed."""
        return str(self.doubt["why"]) if self.doubt else ""

    @property
    def kept_answers(self) -> list[dict[str, Any]]:
        """What is to be confirmed, in order: `browser`, and `outputs`, references by tensor."""
        return list(self.doubt["answers"]) if self.doubt else []


class Outcome(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost", "its worker or browser died"
    SUPERSEDED = "superseded", "computed, but the shard had moved on"
    DOUBTED = "doubted", "computed, and another browser asked to confirm it"


class Attempt(models.Model):
    """One computation of a shard in a browser, as measured; also the outbox of history."""

    shard = models.ForeignKey(RunShard, on_delete=models.CASCADE, related_name="attempt_rows")
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    browser = models.CharField(max_length=64)
    family = models.CharField(max_length=32, blank=True)
    browser_version = models.CharField(max_length=64, blank=True)
    driver_version = models.CharField(max_length=64, blank=True)
    backend = models.CharField(max_length=16, blank=True, help_text="what really ran it")
    adapter = models.CharField(max_length=255, blank=True)
    software = models.BooleanField(null=True, help_text="whether the adapter is software")
    nodes = models.JSONField(default=dict, help_text="graph nodes per execution provider")
    unproved = models.TextField(
        blank=True,
        help_text="why it is not proved that the backend answers the file right at such shapes; blank: it is",
    )
    warm = models.BooleanField(null=True, help_text="the model had run there before")
    queue_ms = models.FloatField(null=True)
    load_ms = models.FloatField(null=True)
    transfer_ms = models.FloatField(null=True)
    compute_ms = models.FloatField(null=True)
    memory_mb = models.FloatField(null=True)
    shapes = models.JSONField(default=dict, help_text="shape of each input")
    bytes_in = models.PositiveBigIntegerField(null=True)
    bytes_out = models.PositiveBigIntegerField(null=True)
    tokens = models.PositiveIntegerField(
        null=True, help_text="the model's input tokens, padding excepted, where it has any"
    )
    error_category = models.CharField(max_length=32, blank=True)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.shard} attempt {self.number}: {self.outcome}"


class ApiKey(models.Model):
    """A key for callers away from loopback; only its SHA-256 is kept."""

    name = models.CharField(max_length=64, unique=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=8, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="blank: no limit"
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


from inference.batches.models import Batch, BatchJob  # noqa: E402, F401  (Django looks here)
