from django.db import migrations, models
from django.db.models import F


def number_parts(apps, _schema_editor):
    """Until now only the strategy `data` split a batch, and a shard's part had the shard's index."""
    shards = apps.get_model("inference", "PlanShard").objects
    shards.filter(plan__strategy="data", kind="compute").update(batch_part=F("index"))


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0004_what_history_compares"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="plan",
            name="one_plan_each",
        ),
        migrations.AddField(
            model_name="plan",
            name="data_parallel",
            field=models.PositiveIntegerField(
                default=1, help_text="over how many copies of the cut model a batch is split"
            ),
        ),
        migrations.AddField(
            model_name="planshard",
            name="batch_part",
            field=models.PositiveIntegerField(
                help_text="which part of a split batch it computes; null: the whole batch",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="planshard",
            name="work_type",
            field=models.CharField(
                blank=True,
                help_text="what history compares it with and placement asks for: blank: the model's type",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.UniqueConstraint(
                fields=("model", "model_sha256", "strategy", "num_shards", "data_parallel"),
                name="one_plan_each",
            ),
        ),
        migrations.RunPython(number_parts, migrations.RunPython.noop),
    ]
