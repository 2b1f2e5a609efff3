"""The admin's pages; Django finds them through this package."""

from __future__ import annotations

from inference.admin import keys, models, runs, schedules

__all__ = ["keys", "models", "runs", "schedules"]
