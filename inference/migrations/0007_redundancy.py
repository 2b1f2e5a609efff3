from django.db import migrations, models


def keep_compared(apps, _editor):
    apps.get_model("inference", "Run").objects.filter(compare=True).update(redundancy="compare")


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0006_doubts"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="redundancy",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "no"),
                    ("first", "the first answer counts"),
                    ("compare", "both answers must agree"),
                ],
                default="",
                help_text="each shard is computed in two browsers: the first answer counts, or both must agree",
                max_length=8,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(keep_compared, migrations.RunPython.noop, elidable=True),
        migrations.RemoveField(model_name="run", name="compare"),
        migrations.RemoveConstraint(model_name="runshard", name="one_run_shard_each"),
        migrations.AlterModelOptions(name="runshard", options={"ordering": ["index", "copy"]}),
        migrations.AddField(
            model_name="runshard",
            name="copy",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="0, or 1: the same once more"
            ),
        ),
        migrations.AddConstraint(
            model_name="runshard",
            constraint=models.UniqueConstraint(
                fields=("run", "index", "copy"), name="one_run_shard_each"
            ),
        ),
    ]
