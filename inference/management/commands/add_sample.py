"""manage.py add_sample: register the sample models, from the weights that packages carry."""

from __future__ import annotations

import json
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import TypedDict

from inference.catalog import checkpoints, decoders, expectations, registry
from inference.checkpoints.reading import Kind
from inference.management.cli import TypedCommand
from inference.models import ModelType, OnnxModel
from inference.zoo import minilm, smollm

_SENTENCES = ["A cat sleeps on the warm windowsill.", "Stock markets fell sharply on Monday."]


class _Options(TypedDict):
    names: list[str]


class Command(TypedCommand[_Options]):
    help = (
        "Register sample models: all-MiniLM-L6-v2 as 'minilm', SmolLM2-135M-Instruct as 'smollm2'."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", choices=[[], *_SAMPLES], help="default: minilm")

    def carry_out(self, options: _Options) -> None:
        for name in options["names"] or ["minilm"]:
            if OnnxModel.objects.filter(name=name).exists():
                self.stdout.write(f"{name}: already registered")
                continue
            with self.acting("add", f"model {name}") as said:
                said.detail = _SAMPLES[name]()
            self.stdout.write(f"{name}: {said.detail}")


def _minilm() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minilm.onnx"
        tokenizer = minilm.build(path)
        declared = path.with_name(expectations.FILE)
        declared.write_text(json.dumps({"examples": _SENTENCES}))
        model = expectations.registered(
            lambda: registry.add_model(
                path, name="minilm", model_type=ModelType.TEXT_EMBEDDING, tokenizer=tokenizer
            ),
            declared,
        )
    return (
        f"built from its safetensors, {model.node_count} nodes, "
        f"{model.weight_bytes / 2**20:.0f} MB, at most {model.max_shards} layer shards"
    )


def _smollm2() -> str:
    """Its plan of two stages is cut, too: the demo asks for it."""
    model = checkpoints.add_checkpoint(smollm.file(), Kind.GGUF, name="smollm2")
    decoders.plan_for(model, 2)
    known = decoders.decoder_of(model)
    return (
        f"SmolLM2-135M-Instruct ({smollm.LICENCE}), converted from GGUF, {known.layers} layers, "
        f"{model.weight_bytes / 2**20:.0f} MB"
    )


_SAMPLES = {"minilm": _minilm, "smollm2": _smollm2}
