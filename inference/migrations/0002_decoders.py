from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="onnxmodel",
            name="decoder",
            field=models.JSONField(
                blank=True,
                help_text="of a model that writes text: layers, states, context, chat template; null: it does not",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="planshard",
            name="stage",
            field=models.JSONField(
                blank=True,
                help_text="of a decoder's file: its states and what fills its other inputs; null: no such file",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="strategy",
            field=models.CharField(
                choices=[
                    ("none", "None"),
                    ("layer", "Layer"),
                    ("attention_feedforward", "Attention Feedforward"),
                    ("tensor", "Tensor"),
                    ("data", "Data"),
                    ("component", "Component"),
                    ("decoder", "Decoder"),
                    ("auto", "Auto"),
                ],
                max_length=32,
            ),
        ),
    ]
