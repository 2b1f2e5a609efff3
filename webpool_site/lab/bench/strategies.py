"""Strategies compared in one run, on small members of six families with seeded weights.

For each family: the whole model in one browser, cut by layers, at attention and feed-forward, by matrices,
by its batch, and `auto`; whole request times, computing included.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inference.catalog import registry
from inference.errors import InvalidRequest
from inference.graph.model import load
from inference.runs import creation
from inference.runs.metrics import run_metrics
from inference.store.tensors import WireTensor, encode_array
from inference.zoo import bert, clip, llama, t5, vit, whisper
from inference.zoo.families import FAMILIES
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row

BATCH = 6
WARM_UP = 4
_SIZE = {"hidden": 192, "heads": 4, "intermediate": 768}
_TOWER = clip.Tower(layers=4, **_SIZE)
# The one file of each family that is measured, at a size that keeps a browser busy for some milliseconds.
MEMBERS: Mapping[str, tuple[str, Any, dict[str, int]]] = {
    "bert": ("encoder", bert.BertConfig(layers=4, **_SIZE), {"length": 48}),
    "vit": ("classifier", vit.VitConfig(layers=4, image=64, patch=8, **_SIZE), {}),
    "clip": ("vision_encoder", clip.ClipConfig(vision=_TOWER, image=64, patch=8), {}),
    "whisper": ("encoder", whisper.WhisperConfig(encoder_layers=4, source=64, **_SIZE), {}),
    "t5": (
        "encoder",
        t5.T5Config(encoder_layers=4, hidden=192, head_size=48, intermediate=768),
        {"length": 48},
    ),
    "llama": ("decoder", llama.LlamaConfig(layers=4, hidden=192, intermediate=768), {"length": 48}),
}
FIXED: tuple[dict[str, Any], ...] = (
    {"strategy": "none"},
    {"strategy": "layer", "shards": 2},
    {"strategy": "layer", "shards": 4},
    {"strategy": "attention_feedforward"},
    {"strategy": "tensor", "shards": 2},
    {"strategy": "data", "shards": 2},
    {"strategy": "data", "shards": 3},
)


@dataclasses.dataclass(frozen=True)
class Member:
    """A registered model of a family, and a batch for it."""

    name: str
    inputs: tuple[WireTensor, ...]


def members() -> Iterator[Member]:
    """Register one file of each family."""
    with tempfile.TemporaryDirectory() as folder:
        for family, (role, config, sizes) in MEMBERS.items():
            built = FAMILIES[family].build(Path(folder), seed=11, config=config)
            (component,) = (item for item in built if item.role == role)
            name = f"bench-{family}"
            registry.add_model(component.path, name=name, model_type=FAMILIES[family].model_type)
            ports = {item.name for item in load(component.path).graph.input}
            examples = FAMILIES[family].example_inputs(3, config, batch=BATCH, **sizes)
            inputs = (encode_array(key, array) for key, array in examples.items() if key in ports)
            yield Member(name, tuple(inputs))


def measure(pool: Pool) -> Iterator[Row | str]:
    """Every strategy over every family, and on how many `auto` beats the median of the others."""
    n = max(10, pool.n // 5)
    beaten, errors = [], []
    for member in members():
        fixed = []
        for way in FIXED:
            try:
                timed = _timed(member, n, **way)
            except InvalidRequest as refusal:
                yield f"{member.name} {_named(way)}: {refusal}"
                continue
            fixed.append(timed.median_ms)
            yield timed
        chosen = _timed(member, n, strategy="auto")
        yield chosen
        errors.append(chosen.facts["prediction_error_percent"])
        beaten.append(chosen.median_ms < statistics.median(fixed))
    yield (
        f"auto is faster than the median of the fixed strategies on {sum(beaten)} of {len(beaten)} "
        "families; its prediction was off by "
        f"{statistics.median(map(abs, errors)):.0f} % of the measured time (median of the families)"
    )


def _named(way: Mapping[str, Any]) -> str:
    return f"{way['strategy']}×{way['shards']}" if "shards" in way else str(way["strategy"])


def _timed(member: Member, n: int, **way: Any) -> Row:
    request = creation.RunRequest(
        model=member.name, inputs=member.inputs, platform="wasm", owner="bench", **way
    )
    samples, computed, errors = [], [], []
    for number in range(WARM_UP + n):
        began = time.perf_counter()
        run, _ = creation.infer(request)
        if number >= WARM_UP:
            samples.append((time.perf_counter() - began) * 1000)
            metrics = run_metrics(run)
            computed.append(sum(shard["compute_ms"] for shard in metrics["shards"]))
            if metrics["prediction"]:
                errors.append(metrics["prediction"]["error"])
    plan = f"{run.plan.strategy}×{run.plan.num_shards}"
    shards = run.plan.computing
    facts: dict[str, Any] = {
        "plan": plan,
        "shards": len(shards),
        "joins": len(run.plan.joining),
        "largest_shard_MB": round(max(shard.weight_bytes for shard in shards) / 2**20, 2),
        "samples_per_s": round(BATCH * 1000 / statistics.median(samples), 1),
        "compute_ms": round(statistics.median(computed), 1),
    }
    if run.prediction:
        facts["predicted_ms"] = round(run.prediction["predicted_ms"], 1)
        facts["prediction_error_percent"] = round(100 * statistics.median(errors), 1)
    return row(f"{member.name} {_named(way)}, batch {BATCH}", samples, **facts)
