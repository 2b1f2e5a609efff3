"""The database is brought to the code's state."""

from __future__ import annotations

from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader


def migrate() -> str:
    """Apply what is missing; returns what was done.

    Raises:
        CommandError: another version of webpool made the database, and its steps are not known here.
    """
    executor = MigrationExecutor(connection)
    if unknown := _unknown(executor.loader):
        raise CommandError(
            f"{connection.settings_dict['NAME']} was made by another version of webpool: it has "
            f"{unknown[0]} ({len(unknown)} in all), which this one does not know. Use the version that made "
            "it, or move it away and register the models again",
            returncode=2,
        )
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return "is up to date"
    call_command("migrate", interactive=False, verbosity=0)
    return f"{len(plan)} migrations applied"


def _unknown(loader: MigrationLoader) -> list[str]:
    """Migrations of apps that are here which the database has and the code has not."""
    applied = set(loader.applied_migrations or ())
    lacking = {(app, name) for app, name in applied - set(loader.disk_migrations or ())}
    return sorted(f"{app}.{name}" for app, name in lacking if app in loader.migrated_apps)
