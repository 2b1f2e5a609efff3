"""The admin's pages; Django finds them through this package."""

from __future__ import annotations

from inference.admin import batches, keys, login, models, runs, schedules

__all__ = ["batches", "keys", "login", "models", "runs", "schedules"]
