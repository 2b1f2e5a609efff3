"""Scores and recommendations are recomputed now and then, even when little comes in."""

from __future__ import annotations

from typing import Any

from django.db import migrations


def create(apps: Any, schema_editor: Any) -> None:
    interval_model = apps.get_model("django_celery_beat", "IntervalSchedule")
    task_model = apps.get_model("django_celery_beat", "PeriodicTask")
    interval, _ = interval_model.objects.get_or_create(every=300, period="seconds")
    task_model.objects.get_or_create(
        name="Recompute scores and recommendations",
        defaults={
            "task": "history.tasks.recompute_history",
            "queue": "history",
            "interval": interval,
        },
    )


class Migration(migrations.Migration):
    dependencies = [("webpool_site", "0001_schedules")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
