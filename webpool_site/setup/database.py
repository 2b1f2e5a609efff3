"""The database is brought to the code's state."""

from __future__ import annotations

import os

from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def migrate() -> str:
    """Apply what is missing; returns what was done."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return "is up to date"
    before = os.umask(0o077)  # WEBPOOL_DATABASE_PATH may lie outside the home, which is private
    try:
        call_command("migrate", interactive=False, verbosity=0)
    finally:
        os.umask(before)
    return f"{len(plan)} migrations applied"
