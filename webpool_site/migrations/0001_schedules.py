"""The periodic tasks webpool needs; an operator may change their times in the admin."""

from __future__ import annotations

from typing import Any

from django.db import migrations

# name, task, seconds; the worker of history does them
SCHEDULES = [
    ("Hand attempts over to history", "inference.tasks.hand_over_attempts", 10),
    ("Forget old runs", "inference.tasks.forget_old_runs", 600),
    # Also when little comes in.
    ("Recompute scores and recommendations", "history.tasks.recompute_history", 300),
]


def create(apps: Any, schema_editor: Any) -> None:
    interval_model = apps.get_model("django_celery_beat", "IntervalSchedule")
    task_model = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, task, seconds in SCHEDULES:
        interval, _ = interval_model.objects.get_or_create(every=seconds, period="seconds")
        task_model.objects.get_or_create(
            name=name, defaults={"task": task, "queue": "history", "interval": interval}
        )
    # To choose from: models are compared every night, at the hour of the first time.
    interval_model.objects.get_or_create(every=1, period="days")


class Migration(migrations.Migration):
    initial = True
    dependencies = [("django_celery_beat", "0019_alter_periodictasks_options")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
