"""manage.py add_model: register an ONNX file, a manifest with its files, or a published language model."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from inference.catalog import checkpoints, components, decoders, expectations, registry
from inference.checkpoints.described import Described
from inference.errors import InvalidRequest
from inference.management.cli import TypedCommand
from inference.models import Entrance, ModelType, OnnxModel
from inference.store import audit


class _Options(TypedDict):
    path: Path
    name: str | None
    type: str | None
    tokenizer: Path | None
    override: list[str]
    weights: str
    encoder: str
    begins: str
    expectations: Path | None
    json: bool


class _Words(TypedDict):
    name: str
    model_type: str
    tokenizer: Path | None


class Command(TypedCommand[_Options]):
    help = (
        "Register an ONNX file, with its external data if it has any; a manifest (.json) of a model made of "
        "several files, which lie beside it; or a language model: a GGUF file, or a folder as Hugging Face, "
        "Optimum, transformers.js, onnxruntime-genai and, of Whisper, CTranslate2 have it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE.onnx|FILE.gguf|FOLDER|MANIFEST.json")
        parser.add_argument("--name", help="default: the file's name")
        parser.add_argument("--type", choices=ModelType.values, help="default: text, or other")
        parser.add_argument("--tokenizer", type=Path, metavar="tokenizer.json")
        parser.add_argument(
            "--override", action="append", default=[], metavar="NAME",
            help="a weight that the file lists as an input, to be given with every request; may come again",
        )  # fmt: skip
        parser.add_argument(
            "--weights",
            choices=("kept", "float32"),
            default="kept",
            help="of a GGUF file: held in the bits they come in, or as float32 (larger, faster)",
        )
        parser.add_argument(
            "--encoder",
            default="",
            metavar="MODEL",
            help="of a decoder that takes an encoder's keys and values: the encoder, registered before",
        )
        parser.add_argument(
            "--begins", default="", metavar="IDS", help="tokens that its texts begin with: 1,2"
        )
        parser.add_argument(
            "--expectations", type=Path, metavar="webpool.json",
            help="what people give the model and get from it; left out: webpool.json beside it, if any",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        path = options["path"]
        declared = options["expectations"] or expectations.beside(path)
        model = expectations.registered(lambda: _register(path, options), declared)
        audit.record(
            Entrance.COMMAND, audit.machine_user(), "add", f"model {model.name}", model.sha256
        )
        if options["json"]:
            facts = {
                "name": model.name,
                "type": model.model_type,
                "sha256": model.sha256,
                "decoder": model.decoder,
            }
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
        for line in _text_facts(model):
            self.stdout.write(f"  {line}")


def _name(path: Path) -> str:
    """A file's or folder's name, as names of models are written."""
    name = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")


def _text_facts(model: OnnxModel) -> Iterator[str]:
    """What was found of a model that writes text, or why one with a cache does not."""
    if model.decoder is None:
        if why := model.summary.get("no_decoder"):
            yield f"writes no text: {why}"
        return
    known = decoders.decoder_of(model)
    yield (
        f"writes text: {known.architecture or 'a decoder'} of {known.layers} layers, "
        f"{len(known.whole.states)} states of together {known.state_bytes / 1024:.1f} KB per position, "
        f"at most {known.context} positions"
    )
    template = "a chat template" if known.chat_template else "no chat template"
    tokens = "a tokenizer" if model.tokenizer else "no tokenizer"
    ends = ", ".join(map(str, known.stop_tokens)) or "none"
    yield f"{tokens}, {template}; tokens that end a text: {ends}"
    if known.encoder:
        yield f"what it listens to is made by the model {known.encoder}"
    yield from model.summary["decoding"]["notes"]


def _described(path: Path, options: _Options) -> Described | None:
    """What is known beside the graph, with the encoder that was named."""
    found = checkpoints.described_beside(path)
    if not options["encoder"]:
        return found
    try:
        begins = tuple(int(word) for word in options["begins"].split(","))
    except ValueError as error:
        raise InvalidRequest(f"--begins {options['begins']!r}: expected 1,2") from error
    words = found or Described(claimed=False)
    return dataclasses.replace(words, encoder=options["encoder"], begins=begins)


def _register(path: Path, options: _Options) -> OnnxModel:
    kind = checkpoints.kind_at(path)
    words: _Words = {
        "name": options["name"] or (path.stem if kind is None else _name(path)),
        "model_type": options["type"] or (ModelType.OTHER if kind is None else ModelType.TEXT),
        "tokenizer": options["tokenizer"],
    }
    if kind is not None:
        if options["override"]:
            raise InvalidRequest(
                "--override goes with an ONNX file, not with a language model's folder"
            )
        floats = options["weights"] == "float32"
        return checkpoints.add_checkpoint(path, kind, floats=floats, **words)
    if path.suffix != ".json":
        return registry.add_model(
            path,
            described=_described(path, options),
            overrides=options["override"],
            **words,
        )
    if options["override"]:
        raise InvalidRequest("--override goes with an ONNX file, not with a manifest")
    try:
        manifest = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    return components.add_components(manifest, path.parent, called=path.name, **words)
