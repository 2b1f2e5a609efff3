"""The ledger: runs, their shards, and every attempt to compute one.

How the states of runs and steps change is told in `inference.core.lifecycle`; who writes them, there too.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.db.models.sql.compiler import SQLCompiler

from inference.core.lifecycle import RUN, RunState, StepState
from inference.documents import JsonObject
from inference.models.catalog import OnnxModel, Plan, PlanStep, StepKind

_READS: dict[str, str] = {
    StepState.WAITING: "waiting for what it depends on",
    StepState.READY: "ready, no browser yet",
}


def _choices(states: type[RunState] | type[StepState]) -> list[tuple[str, str]]:
    return [(state.value, _READS.get(state, state.value.capitalize())) for state in states]


RUN_STATES = _choices(RunState)
SHARD_STATES = _choices(StepState)


class Redundancy(models.TextChoices):
    """Every shard is computed in two browsers, and …"""

    NONE = "", "no"
    FIRST = "first", "the first answer counts"
    COMPARE = "compare", "both answers must agree"


class RunQuerySet(models.QuerySet["Run"]):
    def active(self) -> RunQuerySet:
        return self.filter(state=RunState.RUNNING)


class Run(models.Model):
    """One request for an answer."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(OnnxModel, on_delete=models.CASCADE, related_name="runs")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=16, choices=RUN_STATES, default=RUN.initial)
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
    owner = models.CharField(max_length=160, blank=True, help_text="user or API key")
    tenant = models.CharField(
        max_length=160, blank=True,
        help_text="in whose turn its shards are computed: its owner's, or its batch job's owner's",
    )  # fmt: skip
    created_at = models.DateTimeField(db_index=True)
    deadline_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, db_index=True)

    taken = False
    """Whether who waits with this object takes the outputs, so that the store need not keep them."""
    told: Mapping[str, bytes] | None = None
    """The outputs' bytes by their keys, where they came with the news that it ended."""

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["deadline_at"], name="run_active", condition=Q(state="running"))
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def computing(self) -> list[RunStep]:
        """The steps that browsers do: the run's shards."""
        return [step for step in self.shards.all() if step.kind == StepKind.COMPUTE]

    @property
    def joining(self) -> list[RunStep]:
        """The steps that the control worker does."""
        return [step for step in self.shards.all() if step.kind == StepKind.JOIN]


class Outstanding(models.Lookup):
    """Whether a step's state is one of those that the index of outstanding steps has.

    SQLite takes a partial index only where its condition is repeated word for word; a list of parameters,
    or of fewer words, has it read the whole table.
    """

    lookup_name = "outstanding"
    prepare_rhs = False

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[str | int, ...]]:
        state, parameters = self.process_lhs(compiler, connection)
        return f"{state} IN ('ready', 'queued', 'running')", tuple(parameters)


class RunStepQuerySet(models.QuerySet["RunStep"]):
    def outstanding(self, *states: StepState) -> RunStepQuerySet:
        """Those in one of these states, which are among ready, queued and running; by their index."""
        indexed: JsonObject = {"state__outstanding": True}
        return self.filter(**indexed, state__in=states)


class RunStep(models.Model):
    """One step of one run; the row that workers claim. Joins have no attempts and no browser.

    With `Redundancy.FIRST` a shard has two rows, its copies; when one is done the other is cancelled.
    """

    # No index of its own: the constraint's begins with it, and each step would write both.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="shards", db_index=False)
    plan_step = models.ForeignKey(PlanStep, on_delete=models.CASCADE, related_name="+")
    index = models.PositiveIntegerField()
    copy = models.PositiveSmallIntegerField(default=0, help_text="0, or 1: the same once more")
    kind = models.CharField(max_length=8, choices=StepKind.choices, help_text="as in its plan")
    state = models.CharField(max_length=16, choices=SHARD_STATES)
    fence = models.PositiveIntegerField(default=0, help_text="raised at every dispatch")
    attempts = models.PositiveIntegerField(default=0, help_text="claims so far")
    browser = models.CharField(max_length=64, blank=True, help_text="where it was sent")
    avoid = models.JSONField(default=dict, help_text="browser on which it failed → category")
    doubt = models.JSONField(
        null=True, help_text="answers that another browser is asked to confirm, and why"
    )  # read and written by inference.store.doubts
    outputs = models.JSONField(default=dict)
    ready_at = models.DateTimeField(null=True)
    queued_at = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = RunStepQuerySet.as_manager()

    class Meta:
        ordering = ["index", "copy"]
        constraints = [
            models.UniqueConstraint(fields=["run", "index", "copy"], name="one_run_step_each")
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

    def __copy__(self) -> RunStep:
        """As by Django's own, which goes the way of pickle: every result and failure works on a copy."""
        copied = RunStep.__new__(RunStep)
        vars(copied).update(vars(self))
        copied._state = copy.copy(self._state)
        return copied


RunStep._meta.get_field("state").register_lookup(Outstanding)


class Outcome(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost", "its worker or browser died"
    SUPERSEDED = "superseded", "computed, but the shard had moved on"
    DOUBTED = "doubted", "computed, and another browser asked to confirm it"


class Attempt(models.Model):
    """One computation of a shard in a browser, as measured; also the outbox of history."""

    shard = models.ForeignKey(RunStep, on_delete=models.CASCADE, related_name="attempt_rows")
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
