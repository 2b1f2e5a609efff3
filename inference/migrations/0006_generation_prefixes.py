from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0005_comparisons")]

    operations = [
        migrations.AddField(
            model_name="generationsession",
            name="kept_from",
            field=models.UUIDField(
                help_text="the session whose kept caches it began with", null=True
            ),
        ),
        migrations.AddField(
            model_name="generationsession",
            name="reused",
            field=models.PositiveIntegerField(
                default=0, help_text="positions of its prompt that were taken from there"
            ),
        ),
    ]
