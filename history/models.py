"""What history published, for everybody to read: the measurements themselves are in DuckDB (store.py).

`browser` is a kind of browser as in WEBPOOL_BROWSERS (chromium, firefox), not one process of the pool.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q


class BasedOn(models.TextChoices):
    """The evidence of a recommendation, best first."""

    MODEL = "model", "measurements of this very model"
    MODEL_TYPE = "model_type", "measurements of models of its type"
    SCORES = "scores", "capability scores"
    DEFAULT = "default", "a documented starting preference, not measured"


class BrowserRecommendation(models.Model):
    """Which browser and backend suit a model best, as last computed. No name: any model of the type."""

    timestamp = models.DateTimeField(help_text="when it was computed")
    model_type = models.CharField(max_length=16)
    model_name = models.CharField(max_length=128, blank=True)
    recommended_browser = models.CharField(max_length=64)
    recommended_platform = models.CharField(max_length=16, blank=True)
    confidence = models.FloatField(help_text="probability that it is within 5 % of the best")
    sample_size = models.PositiveIntegerField()
    based_on = models.CharField(max_length=16, choices=BasedOn.choices)
    config = models.JSONField(default=dict, help_text="what is applied at load, and the evidence")

    class Meta:
        ordering = ["model_type", "model_name"]
        constraints = [
            models.UniqueConstraint(
                fields=["model_type", "model_name"], name="one_recommendation_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_type}/{self.model_name or 'any'}: {self.recommended_browser}"


class CapabilityScore(models.Model):
    """How well a browser does a type of model, 0 to 100, relative to the best; as last computed."""

    timestamp = models.DateTimeField(help_text="when it was computed")
    browser = models.CharField(max_length=64)
    model_type = models.CharField(max_length=16)
    score = models.FloatField()
    confidence = models.FloatField()
    sample_size = models.PositiveIntegerField()
    low = models.FloatField(help_text="lower end of the score's interval")
    high = models.FloatField(help_text="upper end of the score's interval")
    metrics = models.JSONField(default=dict, help_text="what the score is made of")

    class Meta:
        ordering = ["model_type", "-score"]
        constraints = [
            models.UniqueConstraint(fields=["browser", "model_type"], name="one_score_each")
        ]

    def __str__(self) -> str:
        return f"{self.browser} {self.model_type}: {self.score:.0f}"


class Severity(models.TextChoices):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Regression(models.Model):
    """A browser's build does the same work slower than the one before; open until it no longer does."""

    browser = models.CharField(max_length=64)
    model_type = models.CharField(max_length=16)
    model_name = models.CharField(max_length=128)
    platform = models.CharField(max_length=16)
    series = models.JSONField(
        default=dict, help_text="what else was the same: work, shape, adapter, host"
    )
    series_key = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the series")
    from_build = models.CharField(max_length=64)
    to_build = models.CharField(max_length=64)
    before_ms = models.FloatField(null=True, help_text="median latency of the build before")
    after_ms = models.FloatField(null=True, help_text="median latency of the slower build")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=64, blank=True, help_text="build that is not slower")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    p_value = models.FloatField()
    change_ratio = models.FloatField(help_text="latency after / before")
    sample_size = models.PositiveIntegerField()

    class Meta:
        ordering = ["-opened_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["browser", "series_key", "from_build", "to_build"],
                condition=Q(closed_at__isnull=True),
                name="one_open_regression_each",
            )
        ]

    def __str__(self) -> str:
        return f"{self.browser} {self.from_build} → {self.to_build}: {self.model_name}"


class PendingSample(models.Model):
    """A measurement on its way into DuckDB; deleted once it is there.

    Attempts of the ledger are their own outbox and are not copied here, unless their model goes.
    `key` is the number under which its source knows it; none: this row's own.
    """

    source = models.CharField(max_length=16)
    key = models.BigIntegerField(null=True)
    payload = models.JSONField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="one_pending_each")]

    def __str__(self) -> str:
        return f"{self.source} {self.key or self.pk}"


def _new_ledger() -> str:
    return uuid.uuid4().hex[:12]


class HistoryStateManager(models.Manager["HistoryState"]):
    def current(self) -> HistoryState:
        """The one row, made when it is first asked for."""
        return self.get_or_create(pk=1)[0]


class HistoryState(models.Model):
    """One row: how far the history worker has come.

    `ledger` names this database in the history file: rows of another one, or of this one made anew,
    have the same numbers but are not the same.
    """

    ledger = models.CharField(max_length=12, default=_new_ledger, editable=False)
    taken_at = models.DateTimeField(null=True, help_text="everything until then is in DuckDB")
    attempts_taken = models.BigIntegerField(
        default=0, help_text="attempts up to this id are in DuckDB"
    )
    samples = models.PositiveBigIntegerField(default=0)
    recomputed_at = models.DateTimeField(null=True)
    recomputed_samples = models.PositiveBigIntegerField(
        default=0, help_text="samples there were at the last recomputation"
    )
    recompute_s = models.FloatField(null=True, help_text="how long the last recomputation took")

    objects = HistoryStateManager()

    class Meta:
        verbose_name_plural = "history state"

    def __str__(self) -> str:
        return f"{self.samples} samples"
