"""manage.py infer: run a registered model on the pool and print the answer."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import TypedDict

import numpy as np

from inference.catalog import registry
from inference.documents import JsonObject
from inference.graph.atomic import atomic_write
from inference.management.cli import TypedCommand
from inference.management.options import add_options, read_options
from inference.management.places import check_place
from inference.models import Run
from inference.runs import creation
from inference.runs.inputs import from_file, from_python
from inference.runs.metrics import run_metrics
from inference.runs.options import Door
from inference.sandbox import archives
from inference.store.tensors import WireTensor, decode_array


class _Options(TypedDict):
    model: str
    input: Path | None
    text: list[str] | None
    output: Path | None
    json: bool


class Command(TypedCommand[_Options]):
    help = "Run a registered model on the pool of browsers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        add_options(parser, Door.INFER)
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--input", type=Path, metavar="FILE", help=".npz or .json")
        source.add_argument("--text", action="append", help="for models with a tokenizer")
        parser.add_argument("--output", type=Path, metavar="FILE.npz")
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        wishes = read_options(options, Door.INFER)
        check_place("--output", options["output"], options["input"])
        model = registry.get_model(options["model"])
        path = options["input"]
        if path is None:
            texts = options["text"] or []
            prepared = from_python(model, registry.tokenizer_of(model).encode(texts))
        else:
            prepared = from_file(model, path)
        request = creation.RunRequest(
            model=model.name,
            inputs=prepared.tensors,
            owner="command line",
            **wishes,
        )
        run, outputs = creation.infer(request)
        if options["output"]:
            write_npz(options["output"], outputs)
        if options["json"]:
            self.stdout.write(json.dumps(_report(run, outputs, prepared.filled_in), indent=2))
        else:
            self._print(run, outputs)

    def _print(self, run: Run, outputs: list[WireTensor]) -> None:
        metrics = run_metrics(run)
        for shard in metrics["shards"]:
            nodes = ", ".join(f"{count} {name}" for name, count in shard["nodes"].items())
            self.stdout.write(
                f"{shard_name(shard)}: {shard['browser']} {shard['browser_version']} "
                f"{shard['backend']} ({nodes}), {shard['compute_ms']:.1f} ms{_also(shard)}"
            )
        for tensor in outputs:
            self.stdout.write(
                f"{tensor.name} {tensor.dtype}{list(tensor.shape)}: {preview(tensor)}"
            )
        split = metrics["batch_split"]
        how = f"; batch split, rows {split}" if split else ""
        self.stdout.write(f"run {run.pk}: {metrics['inference_time_ms']:.1f} ms{how}")


def _also(shard: JsonObject) -> str:
    others = ", ".join(f"{copy['browser']} ({copy['state']})" for copy in shard["other_copies"])
    also = f"; also {others}" if others else ""
    return also + (f"; unproved: {shard['unproved']}" if shard["unproved"] else "")


def shard_name(shard: JsonObject) -> str:
    group = f" ({shard['group']})" if shard["group"] else ""
    return f"shard {shard['index']}{group}"


def preview(tensor: WireTensor, count: int = 5) -> str:
    """The first few elements, for people."""
    flat = decode_array(tensor).ravel()
    shown = ", ".join(
        f"{item:.5g}" if isinstance(item, np.floating) else str(item) for item in flat[:count]
    )
    return shown + (", …" if flat.size > count else "")


def write_npz(path: Path, outputs: list[WireTensor]) -> None:
    """Write all outputs, completely or not at all."""
    with atomic_write(path) as file:
        archives.write(file, {tensor.name: decode_array(tensor) for tensor in outputs})


def _report(run: Run, outputs: list[WireTensor], filled_in: list[str]) -> JsonObject:
    result = [
        {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "first": [_plain(item) for item in decode_array(tensor).ravel()[:8]],
        }
        for tensor in outputs
    ]
    return {
        "run": str(run.pk),
        "model": run.model.name,
        "strategy": run.plan.strategy,
        "filled_in": [*filled_in, *run.filled_in],
        "result": result,
        "metrics": run_metrics(run),
    }


def _plain(item: object) -> object:
    value = item.item() if isinstance(item, np.generic) else item
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
