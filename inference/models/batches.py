"""A batch job and its batches."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q


class JobState(models.TextChoices):
    RUNNING = "running"
    FINISHED = "finished"
    FAILURES = "finished with failures"
    CANCELLED = "cancelled"


class BatchJob(models.Model):
    """A file of items to be computed by one model."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey("OnnxModel", on_delete=models.CASCADE, related_name="batch_jobs")
    state = models.CharField(max_length=32, choices=JobState.choices, default=JobState.RUNNING)
    source_name = models.CharField(max_length=1024, help_text="a path, if it was given one")
    source_sha256 = models.CharField(max_length=64)
    source_bytes = models.PositiveBigIntegerField()
    source_format = models.CharField(max_length=16, help_text="jsonl, npz or parquet")
    batch_size = models.PositiveIntegerField(help_text="items in one run, at most")
    concurrency = models.PositiveIntegerField(
        null=True, help_text="batches in flight; null: as many as browsers are ready"
    )
    options = models.JSONField(default=dict, help_text="how its runs are asked for")
    filled_in = models.JSONField(default=list, help_text="inputs and axes that were added")
    item_count = models.PositiveIntegerField()
    batch_count = models.PositiveIntegerField()
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="of file, model, options and owner; blank: replaced"
    )
    owner = models.CharField(max_length=160, blank=True, help_text="user or API key")
    note = models.TextField(blank=True, help_text="why nothing can be sent at the moment")
    wait_until = models.DateTimeField(null=True, help_text="nothing is sent before")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, help_text="when a batch was sent first")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=~Q(fingerprint=""), name="one_job_each"
            )
        ]
        indexes = [models.Index(fields=["state"], name="job_running", condition=Q(state="running"))]

    def __str__(self) -> str:
        return f"{self.model.name}: {self.source_name}"


class BatchState(models.TextChoices):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Batch(models.Model):
    """Items that go through the model together; claimed by a conditional UPDATE.

    Running without a run: somebody is about to create it, or died before it could be noted.
    """

    job = models.ForeignKey(BatchJob, on_delete=models.CASCADE, related_name="batches")
    index = models.PositiveIntegerField()
    items = models.JSONField(help_text="positions of its items in the file, from 0")
    item_count = models.PositiveIntegerField()
    rows = models.PositiveIntegerField(help_text="rows of the model's batch that an item has")
    adds_axis = models.BooleanField(help_text="items came without the batch axis")
    state = models.CharField(max_length=16, choices=BatchState.choices, default=BatchState.WAITING)
    attempts = models.PositiveIntegerField(default=0, help_text="claims so far: the fence")
    run = models.ForeignKey("Run", null=True, on_delete=models.SET_NULL, related_name="+")
    error_category = models.CharField(max_length=32, blank=True)
    error = models.TextField(blank=True)
    claimed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["index"]
        verbose_name_plural = "batches"
        constraints = [models.UniqueConstraint(fields=["job", "index"], name="one_batch_each")]
        indexes = [
            models.Index(fields=["job", "state", "index"], name="batch_of_job"),
            models.Index(fields=["state"], name="batch_in_flight", condition=Q(state="running")),
        ]

    def __str__(self) -> str:
        return f"batch {self.index} of {self.job_id}"
