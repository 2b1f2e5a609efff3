from django.db import migrations, models

# How the reason of a drain began while nothing else told its kind; the more particular ones last.
_BEGAN = [
    ("", "asked"),
    ("the pool shrinks", "shrinking"),
    ("quarantined", "quarantined"),
    ("quarantined by the pool", "given_up"),
]


def tell_kinds(apps, schema_editor):
    drained = apps.get_model("browsers", "Browser").objects.filter(drained_at__isnull=False)
    for beginning, kind in _BEGAN:
        drained.filter(drain_reason__startswith=beginning).update(drain_kind=kind)


class Migration(migrations.Migration):
    dependencies = [("browsers", "0006_backend_proofs")]

    operations = [
        migrations.AddField(
            model_name="browser",
            name="drain_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "not drained"),
                    ("asked", "asked for"),
                    ("shrinking", "the pool shrinks"),
                    ("quarantined", "quarantined"),
                    ("given_up", "quarantined by the pool"),
                ],
                max_length=16,
            ),
        ),
        migrations.RunPython(tell_kinds, migrations.RunPython.noop),
    ]
