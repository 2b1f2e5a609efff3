"""The admin's pages; Django finds them through this package."""

from __future__ import annotations

from django.contrib import admin

from inference.admin import (
    audit,
    batches,
    comparisons,
    keys,
    login,
    models,
    proofs,
    runs,
    schedules,
)

__all__ = [
    "audit",
    "batches",
    "comparisons",
    "keys",
    "login",
    "models",
    "proofs",
    "runs",
    "schedules",
]
admin.site.index_title = "The pool"
