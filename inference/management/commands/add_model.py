"""manage.py add_model: register an ONNX file."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from inference import registry
from inference.management.cli import WebpoolCommand
from inference.models import ModelType


class Command(WebpoolCommand):
    help = "Register an ONNX file, with its external data if it has any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument("--name", help="default: the file's name")
        parser.add_argument("--type", choices=ModelType.values, default=ModelType.OTHER)
        parser.add_argument("--tokenizer", type=Path, metavar="tokenizer.json")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        path: Path = options["path"]
        model = registry.add_model(
            path,
            name=options["name"] or path.stem,
            model_type=options["type"],
            tokenizer=options["tokenizer"],
        )
        if options["json"]:
            facts = {"name": model.name, "type": model.model_type, "sha256": model.sha256}
            self.stdout.write(json.dumps({**facts, **model.summary}, indent=2))
            return
        self.stdout.write(
            f"{model.name}: {model.node_count} nodes, {model.weight_bytes / 2**20:.1f} MB of "
            f"weights, at most {model.max_shards} layer shards"
        )
        for kind, ports in (("input", model.inputs), ("output", model.outputs)):
            for port in ports:
                self.stdout.write(f"  {kind} {port['name']}: {port['dtype']}{port['shape']}")
