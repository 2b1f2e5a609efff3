"""manage.py add_model: register an ONNX file, or a manifest with the files it names."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from inference.catalog import components, registry
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.management.cli import WebpoolCommand
from inference.models import Entrance, ModelType, OnnxModel
from inference.store import audit


class Command(WebpoolCommand):
    help = (
        "Register an ONNX file, with its external data if it has any; or a manifest (.json) of a model "
        "made of several files, which lie beside it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE.onnx|MANIFEST.json")
        parser.add_argument("--name", help="default: the file's name")
        parser.add_argument("--type", choices=ModelType.values, default=ModelType.OTHER)
        parser.add_argument("--tokenizer", type=Path, metavar="tokenizer.json")
        parser.add_argument(
            "--override", action="append", default=[], metavar="NAME",
            help="a weight that the file lists as an input, to be given with every request; may come again",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: object, **options: Any) -> None:
        model = _register(options["path"], options)
        audit.record(
            Entrance.COMMAND, audit.machine_user(), "add", f"model {model.name}", model.sha256
        )
        if options["json"]:
            facts = {"name": model.name, "type": model.model_type, "sha256": model.sha256}
            self.stdout.write(json.dumps({**facts, **model.summary}, indent=2))
            return
        shards = f"at most {model.max_shards} layer shards"
        if model.components:
            shards = f"{len(model.components)} components"
        self.stdout.write(
            f"{model.name}: {model.node_count} nodes, {model.weight_bytes / 2**20:.1f} MB of "
            f"weights, {shards}"
        )
        for item in model.components:
            after = ", ".join(model.components[i]["name"] for i in item["depends_on"]) or "nothing"
            self.stdout.write(f"  component {item['name']} ({item['model']}) after {after}")
        for kind, ports in (("input", model.inputs), ("output", model.outputs)):
            for port in ports:
                self.stdout.write(f"  {kind} {port['name']}: {port['dtype']}{port['shape']}")
        self.stdout.write(f"  splitting a batch by rows: {model.batch}")


def _register(path: Path, options: JsonObject) -> OnnxModel:
    words = {
        "name": options["name"] or path.stem,
        "model_type": options["type"],
        "tokenizer": options["tokenizer"],
    }
    if path.suffix != ".json":
        return registry.add_model(path, overrides=options["override"], **words)
    if options["override"]:
        raise InvalidRequest("--override goes with an ONNX file, not with a manifest")
    try:
        manifest = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    return components.add_components(manifest, path.parent, called=path.name, **words)
