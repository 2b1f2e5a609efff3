"""A comparison of one model over browsers and backends, and its cells."""

from __future__ import annotations

import uuid

from django.db import models

from inference.core.comparisons.cells import CellState, Place, label


class ComparisonState(models.TextChoices):
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Comparison(models.Model):
    """One model, the same inputs, in several browsers and backends, one run at a time.

    `turn` is the fence of the run in flight: whoever claims the next run raises it, and what a run measured
    is counted by whoever ends its turn.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey("OnnxModel", on_delete=models.CASCADE, related_name="comparisons")
    model_sha256 = models.CharField(max_length=64)
    state = models.CharField(
        max_length=16, choices=ComparisonState.choices, default=ComparisonState.RUNNING
    )
    asked = models.JSONField(
        default=dict, help_text="browsers, backends, strategies, rows, strict, as asked"
    )
    source = models.CharField(
        max_length=255, help_text="of the inputs: random, known answer, or a file's name"
    )
    inputs = models.JSONField(help_text="name, dtype and shape of each")
    runs = models.PositiveIntegerField(help_text="measured runs of each cell; the first is apart")
    seed = models.PositiveBigIntegerField(help_text="of random inputs, and of the order of runs")
    reference = models.JSONField(
        help_text="onnxruntime's version, its outputs with their hashes, tolerance, why nothing is judged"
    )
    owner = models.CharField(max_length=160, blank=True, help_text="user or API key")
    scheduled = models.BooleanField(default=False, help_text="whether a schedule asked for it")
    turn = models.PositiveIntegerField(default=0, help_text="runs claimed so far: the fence")
    turn_cell = models.ForeignKey(
        "ComparisonCell", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    turn_run = models.ForeignKey("Run", null=True, on_delete=models.SET_NULL, related_name="+")
    claimed_at = models.DateTimeField(null=True, help_text="when the run in flight was claimed")
    note = models.TextField(blank=True, help_text="why nothing can be sent at the moment")
    wait_until = models.DateTimeField(null=True, help_text="nothing is sent before")
    waiting_since = models.DateTimeField(
        null=True, help_text="since when the next cell's browser is missing"
    )
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["state"], name="comparison_running", condition=models.Q(state="running")
            )
        ]

    def __str__(self) -> str:
        return f"comparison {self.id} of {self.model.name}"


class ComparisonCell(models.Model):
    """One browser with one backend, and what was measured there; null: not measured.

    Where the model is cut, or has several files, that browser computes every shard: times are their sum.
    """

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="cells")
    index = models.PositiveIntegerField()
    browser = models.CharField(max_length=64, help_text="its id, or what was asked for")
    kind = models.CharField(max_length=32, blank=True)
    version = models.CharField(max_length=64, blank=True)
    backend = models.CharField(max_length=16)
    strategy = models.CharField(
        max_length=32, help_text="none, component, or how it is cut, such as layer:2"
    )
    adapter = models.CharField(max_length=255, blank=True)
    software = models.BooleanField(null=True, help_text="whether the adapter is software")
    state = models.CharField(
        max_length=16,
        choices=[(state.value, state.value) for state in CellState],
        default=CellState.WAITING.value,
    )
    reason = models.TextField(
        blank=True, help_text="in full: why it is wrong, failed, untried or not judged"
    )
    error_category = models.CharField(max_length=32, blank=True)
    turns = models.PositiveIntegerField(default=0, help_text="runs that succeeded")
    misses = models.PositiveIntegerField(default=0, help_text="runs in a row that did not")
    first_ms = models.FloatField(
        null=True, help_text="the first run; null: it had run there before"
    )
    load_ms = models.FloatField(null=True, help_text="null: it was loaded already")
    memory_mb = models.FloatField(null=True, help_text="the largest seen of its process tree")
    nodes = models.JSONField(default=dict, help_text="graph nodes per execution provider")
    shards = models.JSONField(
        default=list, help_text="name, nodes and compute_ms of each warm run of every shard"
    )
    unproved = models.TextField(blank=True, help_text="why the backend is not proved; blank: it is")
    samples = models.JSONField(default=list, help_text="compute_ms of each warm run, in order")
    largest_difference = models.FloatField(
        null=True, help_text="from onnxruntime's outputs; null: not known, or in shape or kind"
    )
    wrong = models.TextField(blank=True, help_text="how an answer was wrong; blank: none was")
    output_sha256 = models.CharField(max_length=64, blank=True, help_text="of its first answer")
    varies = models.BooleanField(default=False, help_text="whether its answers had other bits")
    run_ids = models.JSONField(default=list)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["comparison", "index"], name="one_cell_each")
        ]

    def __str__(self) -> str:
        return label(self.browser, self.backend, strategy=self.strategy)

    @property
    def place(self) -> Place:
        """What it is found again by in another comparison of the model."""
        return Place(self.kind, self.backend, self.strategy)
