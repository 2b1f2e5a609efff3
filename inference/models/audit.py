"""What operators did, by whichever door."""

from __future__ import annotations

from django.db import models


class Entrance(models.TextChoices):
    ADMIN = "admin", "the admin"
    REST = "rest", "the REST API"
    COMMAND = "command", "the command line"
    PYTHON = "python", "a Python script"


class AuditEntry(models.Model):
    """One action of an operator: who, by which door, on what, and what came of it."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    who = models.CharField(
        max_length=160, help_text="a user, an API key, or the user of the machine"
    )
    door = models.CharField(max_length=8, choices=Entrance.choices)
    action = models.CharField(max_length=64)
    target = models.CharField(max_length=255, help_text="what it was done to")
    done = models.BooleanField(help_text="whether it was done; the detail says why not")
    detail = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return f"{self.who}: {self.action} {self.target}"
