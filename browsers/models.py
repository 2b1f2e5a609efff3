"""A browser of the pool as the database knows it: what it is, not how it feels this second.

Heartbeats, loaded models and memory are live state and stay in Redis (browsers/state/live.py).
"""

from __future__ import annotations

from django.db import models

from browsers.core.answers.proofs import Verdict


class BrowserState(models.TextChoices):
    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    STOPPED = "stopped"
    FAILED = "failed"


class DrainKind(models.TextChoices):
    """Why a browser takes nothing new."""

    NONE = "", "not drained"
    ASKED = "asked", "asked for"
    SHRINKING = "shrinking", "the pool shrinks"
    QUARANTINED = "quarantined", "quarantined"  # not trusted, nor expected back
    GIVEN_UP = "given_up", "quarantined by the pool"  # until it starts once


class Browser(models.Model):
    """One browser, owned by one Celery worker that consumes the queue `browser.<id>`."""

    id = models.SlugField(primary_key=True, max_length=64, help_text="kind, or kind-2, kind-3 …")
    kind = models.CharField(max_length=32)
    family = models.CharField(max_length=32)
    state = models.CharField(
        max_length=16, choices=BrowserState.choices, default=BrowserState.STARTING
    )
    reason = models.TextField(blank=True, help_text="why it is in this state, when not ready")
    version = models.CharField(max_length=64, blank=True)
    driver_version = models.CharField(max_length=64, blank=True)
    user_agent = models.TextField(blank=True)
    host = models.CharField(max_length=255, blank=True)
    zone = models.CharField(max_length=64, blank=True)
    cores = models.PositiveIntegerField(null=True)
    system_memory_mb = models.FloatField(null=True)
    memory_limit_mb = models.FloatField(null=True)
    gpu = models.CharField(
        max_length=255,
        blank=True,
        help_text="the WebGPU adapter as the browser tells it, if it does",
    )
    backends = models.JSONField(
        default=list, help_text="as last asked: name, adapter, software, probe_ms, probe_ok"
    )
    worker_pid = models.PositiveIntegerField(null=True)
    starts = models.PositiveIntegerField(default=0, help_text="how often its worker started it")
    failed_starts = models.PositiveIntegerField(
        default=0, help_text="how often in a row its worker could not start it"
    )
    repairs = models.PositiveIntegerField(
        default=0, help_text="how often a repair made it healthy again, whatever the rung"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    state_changed_at = models.DateTimeField(null=True)
    drained_at = models.DateTimeField(
        null=True, help_text="since then it takes no new shards; null: it takes them"
    )
    drain_kind = models.CharField(max_length=16, blank=True, choices=DrainKind.choices)
    drain_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id

    @property
    def quarantined(self) -> bool:
        return self.drain_kind in (DrainKind.QUARANTINED, DrainKind.GIVEN_UP)


class Incident(models.Model):
    """Something that went wrong with a browser and what was done about it."""

    browser = models.ForeignKey(Browser, on_delete=models.CASCADE, related_name="incidents")
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    category = models.CharField(max_length=32)
    message = models.TextField()
    rung = models.CharField(max_length=32, blank=True, help_text="the repair that was tried")
    repaired = models.BooleanField(null=True)
    duration_ms = models.FloatField(null=True)
    reclaimed_mb = models.FloatField(
        null=True, help_text="memory given back by it, as measured; null: not measured"
    )
    page = models.CharField(
        max_length=200, blank=True, help_text="the page of the admin that tells more; blank: none"
    )

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.browser_id}: {self.category} → {self.rung or 'none'}"


class BackendProof(models.Model):
    """What a backend of one build of a browser answered when a model file was tried on it.

    A backend that answered otherwise than onnxruntime is not asked to compute the file again until this row
    is deleted, or browser or onnxruntime-web are another build (browsers/core/answers/proofs.py).
    """

    sha256 = models.CharField(max_length=64, help_text="the file")
    kind = models.CharField(max_length=32)
    version = models.CharField(max_length=64, help_text="of the browser")
    runtime = models.CharField(
        max_length=64, help_text="what computes in its page, and its version"
    )
    host = models.CharField(max_length=255)
    backend = models.CharField(max_length=16)
    adapter = models.CharField(max_length=255, blank=True)
    shapes = models.CharField(
        max_length=255, blank=True, help_text="of the inputs it holds for; blank: all"
    )
    verdict = models.CharField(max_length=8, choices=[(one.value, one.value) for one in Verdict])
    reason = models.TextField(blank=True)
    cases = models.PositiveIntegerField(default=0, help_text="how many different inputs were tried")
    at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "sha256", "kind", "version", "runtime", "host", "backend", "adapter", "shapes", "verdict",
                ],
                name="one_proof_each",
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.sha256[:12]}… on {self.kind} {self.version} {self.backend}: {self.verdict}"


class PoolAction(models.TextChoices):
    GREW = "grew", "added"
    DRAINED = "drained", "drained"
    SHRANK = "shrank", "left"


class PoolEvent(models.Model):
    """A change of an adaptive pool's size, and why (webpool_site/resizing.py)."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    action = models.CharField(max_length=16, choices=PoolAction.choices)
    browser = models.CharField(max_length=64, help_text="its id; its row may be gone")
    kind = models.CharField(max_length=32)
    reason = models.TextField()
    browsers = models.PositiveIntegerField(help_text="in the pool, with this one")
    utilisation = models.FloatField(null=True, help_text="moving average, 0 to 1; null: unknown")
    memory_used_percent = models.FloatField(help_text="of the machine")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.browser} {self.action}: {self.reason}"
