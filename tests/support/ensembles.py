"""A model of several tiny files: two encoders, independent of one another, and what fuses them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.graph.ensemble.manifest import read_manifest
from inference.graph.ensemble.wiring import wire
from inference.graph.reference import reference
from inference.graph.summary import read_model
from inference.zoo.builder import FLOAT, INT64, GraphBuilder

Array = np.ndarray[Any, Any]
WIDTH = 64
DIAMOND: dict[str, Any] = {
    "inputs": ["words", "pixels"],
    "outputs": {"score": "scores"},
    "components": [
        {
            "name": "fusion",
            "model": "fusion.onnx",
            "inputs": {"a": "text_pooled", "b": "image/pooled"},
            "outputs": {"y": "scores"},
        },
        {
            "name": "text",
            "model": "text.onnx",
            "inputs": {"x": "words"},
            "outputs": {"pooled": "text_pooled"},
        },
        {"name": "image", "model": "image.onnx", "inputs": {"x": "pixels"}},
    ],
}


def encoder(path: Path, *, seed: int, matmuls: int = 2, width: int = WIDTH) -> Path:
    """`x` float32[batch, width] → `pooled` of the same shape; `matmuls` says how long it takes."""
    graph = GraphBuilder("encoder")
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]
    weight = graph.weight("w", matrix.astype(np.float32))
    last = "x"
    for turn in range(matmuls):
        last = graph.op("MatMul", last, weight, output="pooled" if turn == matmuls - 1 else "")
    shape: list[int | str] = ["batch", width]
    return graph.save(path, [("x", FLOAT, shape)], [("pooled", FLOAT, shape)])


def lookup(path: Path, *, rows: int, width: int = WIDTH) -> Path:
    """`ids` int64[batch] → `pooled` float32[batch, width], of a table of so many rows."""
    graph = GraphBuilder("lookup")
    table = np.random.default_rng(rows).standard_normal((rows, width)).astype(np.float32)
    graph.op("Gather", graph.weight("table", table), "ids", output="pooled")
    return graph.save(path, [("ids", INT64, ["batch"])], [("pooled", FLOAT, ["batch", width])])


def two_tables(folder: Path, *, rows: tuple[int, int]) -> Path:
    """Two tables of so many rows looked up by the same `words`, and fused; returns the manifest's path."""
    parts = [f"table{number}" for number in range(2)]
    for part, count in zip(parts, rows, strict=True):
        lookup(folder / f"{part}.onnx", rows=count)
    fusion(folder / "fusion.onnx")
    described: list[dict[str, Any]] = [
        {"name": part, "model": f"{part}.onnx", "inputs": {"ids": "words"}} for part in parts
    ]
    taken = {"a": "table0/pooled", "b": "table1/pooled"}
    described.append({"name": "fusion", "model": "fusion.onnx", "inputs": taken})
    path = folder / "tables.json"
    path.write_text(json.dumps({"inputs": ["words"], "components": described}))
    return path


def fusion(path: Path, *, width: int = WIDTH) -> Path:
    """`a` and `b` float32[batch, width] → `y` float32[batch, 4]."""
    graph = GraphBuilder("fusion")
    weight = np.random.default_rng(9).standard_normal((2 * width, 4)) / width**0.5
    joined = graph.op("Concat", "a", "b", axis=1)
    graph.op("MatMul", joined, graph.weight("w", weight.astype(np.float32)), output="y")
    shape: list[int | str] = ["batch", width]
    return graph.save(
        path, [("a", FLOAT, shape), ("b", FLOAT, shape)], [("y", FLOAT, ["batch", 4])]
    )


def diamond(folder: Path, *, matmuls: int = 2, width: int = WIDTH) -> Path:
    """Write the three files and their manifest; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder(folder / "text.onnx", seed=1, matmuls=matmuls, width=width)
    encoder(folder / "image.onnx", seed=2, matmuls=matmuls, width=width)
    fusion(folder / "fusion.onnx", width=width)
    path = folder / "clip.json"
    path.write_text(json.dumps(DIAMOND))
    return path


def question(seed: int = 0, *, rows: int = 2, width: int = WIDTH) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        name: random.standard_normal((rows, width)).astype(np.float32)
        for name in ("words", "pixels")
    }


def in_order(manifest: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime answers when it runs the files one after another."""
    entries = read_manifest(manifest.read_bytes())
    files = {item.name: manifest.parent / item.model for item in entries.components}
    summaries = {name: read_model(path) for name, path in files.items()}
    wiring = wire(entries, {name: (s.inputs, s.outputs) for name, s in summaries.items()})
    tensors = dict(inputs)
    for component in wiring.components:
        given = {item.spec.name: tensors[item.tensor] for item in component.inputs}
        made = reference(files[component.name], given)
        tensors |= {item.tensor: made[item.spec.name] for item in component.outputs}
    return {item.spec.name: tensors[item.tensor] for item in wiring.outputs}
