"""manage.py add_sample: build all-MiniLM-L6-v2 from its packaged weights and register it as `minilm`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from inference.catalog import registry
from inference.management.cli import WebpoolCommand
from inference.models import ModelType, OnnxModel
from inference.zoo import minilm

NAME = "minilm"


class Command(WebpoolCommand):
    help = "Register the sample model: all-MiniLM-L6-v2 as 'minilm'."

    def handle(self, *_: object, **options: object) -> None:
        if OnnxModel.objects.filter(name=NAME).exists():
            self.stdout.write(f"{NAME}: already registered")
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{NAME}.onnx"
            tokenizer = minilm.build(path)
            model = registry.add_model(
                path, name=NAME, model_type=ModelType.TEXT_EMBEDDING, tokenizer=tokenizer
            )
        self.stdout.write(
            f"{NAME}: built from its safetensors, {model.node_count} nodes, "
            f"{model.weight_bytes / 2**20:.0f} MB, at most {model.max_shards} layer shards"
        )
