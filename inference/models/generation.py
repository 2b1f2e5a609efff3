"""Sessions that write text: what was asked, who holds which stage, what was written, what was recovered."""

from __future__ import annotations

import uuid

from django.db import models

from inference.core.generation import telling
from inference.core.generation.asked import Asked, Ending
from inference.core.generation.stages import Decoder, Stage
from inference.core.generation.telling import asked_from_json
from inference.models.catalog import OnnxModel, Plan, PlanStep


def stage_of(shard: PlanStep) -> Stage:
    """The stage that a step of a decoder's plan is."""
    assert shard.stage is not None, f"{shard} is no stage of a decoder"
    return Stage.from_json(shard.stage)


class SessionState(models.TextChoices):
    RUNNING = "running"
    ENDED = "ended"


class GenerationQuerySet(models.QuerySet["GenerationSession"]):
    def active(self) -> GenerationQuerySet:
        return self.filter(state=SessionState.RUNNING)


class GenerationSession(models.Model):
    """One text. What browsers and listeners exchange is in Redis; from this row it can be made anew."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(OnnxModel, on_delete=models.CASCADE, related_name="generations")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="generations")
    state = models.CharField(
        max_length=16, choices=SessionState.choices, default=SessionState.RUNNING
    )
    asked = models.JSONField(help_text="prompt, limits and sampling, as they were asked for")
    written = models.JSONField(
        default=list, help_text="the tokens as they were told, a moment behind while it is running"
    )
    ending = models.CharField(
        max_length=16, blank=True, choices=[(ending.value, ending.value) for ending in Ending]
    )
    error_category = models.CharField(max_length=32, blank=True)
    error = models.TextField(blank=True)
    owner = models.CharField(max_length=160, blank=True, help_text="user or API key")
    kept_from = models.UUIDField(null=True, help_text="the session whose kept caches it began with")
    reused = models.PositiveIntegerField(
        default=0, help_text="positions of its prompt that were taken from there"
    )
    created_at = models.DateTimeField(db_index=True)
    first_token_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, db_index=True)

    objects = GenerationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["state"],
                name="generation_active",
                condition=models.Q(state=SessionState.RUNNING),
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def decoder(self) -> Decoder:
        """What is known of its model."""
        assert self.model.decoder is not None, f"{self.model} writes no text"
        return Decoder.from_json(self.model.decoder)

    @property
    def wanted(self) -> Asked:
        """What was asked for."""
        return asked_from_json(self.asked)

    @property
    def tokens(self) -> list[int]:
        """What `written` holds, without log probabilities."""
        return [telling.token_of(document) for document in self.written]


class GenerationStage(models.Model):
    """Who holds a stage of a session. Whoever gives it to somebody else raises its epoch."""

    session = models.ForeignKey(GenerationSession, on_delete=models.CASCADE, related_name="stages")
    plan_step = models.ForeignKey(PlanStep, on_delete=models.CASCADE, related_name="+")
    index = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField(default=1)
    browser = models.CharField(max_length=64, blank=True, help_text="blank: none could take it yet")
    given_at = models.DateTimeField(help_text="when its epoch began")
    opened_by = models.CharField(
        max_length=64,
        blank=True,
        help_text="which of its browser's workers has it; blank: none yet",
    )
    unproved = models.TextField(
        blank=True, help_text="why it is not proved that its file is answered right; blank: it is"
    )
    avoid = models.JSONField(default=dict, help_text="browser on which it failed → category")

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["session", "index"], name="one_generation_stage_each")
        ]

    def __str__(self) -> str:
        return f"{self.session_id} #{self.index}"

    @property
    def stage(self) -> Stage:
        """What it takes and gives."""
        return stage_of(self.plan_step)


class GenerationStandby(models.Model):
    """Another browser that computes a stage, too, and passes nothing on until its epoch is the stage's.

    One that was lost stays, with the reason: its browser is not asked again at once.
    """

    stage = models.ForeignKey(GenerationStage, on_delete=models.CASCADE, related_name="standbys")
    epoch = models.PositiveIntegerField(help_text="the stage's, should it take over")
    browser = models.CharField(max_length=64)
    given_at = models.DateTimeField(help_text="when it was asked to follow, or lost")
    opened_by = models.CharField(
        max_length=64,
        blank=True,
        help_text="which of its browser's workers follows; blank: none yet",
    )
    category = models.CharField(max_length=32, blank=True, help_text="blank: it is not lost")
    why = models.TextField(blank=True)

    class Meta:
        ordering = ["epoch"]
        constraints = [
            models.UniqueConstraint(
                fields=["stage", "epoch"], name="one_generation_standby_each_epoch"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stage} epoch {self.epoch} in {self.browser}"


class GenerationMemory(models.Model):
    """What an encoder made for a session; it is needed where the store has lost that."""

    session = models.OneToOneField(
        GenerationSession, on_delete=models.CASCADE, related_name="memory", primary_key=True
    )
    frame = models.BinaryField(help_text="inference/generation/frames.py")

    def __str__(self) -> str:
        return str(self.session_id)


class GenerationRecovery(models.Model):
    """A stage that was given to another browser, or to the same one after its repair."""

    session = models.ForeignKey(
        GenerationSession, on_delete=models.CASCADE, related_name="recoveries"
    )
    stage = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField(help_text="the stage's from then on")
    lost_by = models.CharField(max_length=64, blank=True)
    taken_by = models.CharField(max_length=64, blank=True)
    how = models.CharField(
        max_length=16, help_text="a standby, replay of its inputs, or the text recomputed"
    )
    category = models.CharField(max_length=32, blank=True)
    why = models.TextField()
    until = models.PositiveIntegerField(help_text="positions that were computed before")
    began_at = models.DateTimeField()
    opened_s = models.FloatField(
        null=True,
        help_text="until its file was loaded and proved there; null: not yet, or a standby",
    )
    seconds = models.FloatField(null=True, help_text="until the stage went on; null: not yet")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "stage", "epoch"], name="one_recovery_each_epoch"
            )
        ]

    def __str__(self) -> str:
        return f"{self.session_id} #{self.stage} epoch {self.epoch}"
