"""Strategies compared in one run, on small members of six families with seeded weights.

For each family: the whole model in one browser, cut by layers, at attention and feed-forward, by matrices,
by its batch, and `auto`; whole request times, computing included. Then how much several browsers bring.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from browsers.live import living
from inference import registry, runs
from inference.errors import InvalidRequest
from inference.graph.model import load
from inference.metrics import run_metrics
from inference.tensors import WireTensor, encode_array
from inference.zoo import bert, clip, llama, t5, vit, whisper
from inference.zoo.families import FAMILIES
from webpool_site.bench.stats import Row, row

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


def strategy_cases(n: int) -> Iterator[Row | str]:
    """Every strategy over every family, and on how many `auto` beats the median of the others."""
    beaten = []
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
        beaten.append(chosen.median_ms < statistics.median(fixed))
    yield (
        f"auto is faster than the median of the fixed strategies on {sum(beaten)} of {len(beaten)} "
        "families"
    )


def _named(way: Mapping[str, Any]) -> str:
    return f"{way['strategy']}×{way['shards']}" if "shards" in way else str(way["strategy"])


def _timed(member: Member, n: int, **way: Any) -> Row:
    request = runs.RunRequest(
        model=member.name, inputs=member.inputs, platform="wasm", owner="bench", **way
    )
    samples, computed = [], []
    for number in range(WARM_UP + n):
        began = time.perf_counter()
        run, _ = runs.infer(request)
        if number >= WARM_UP:
            samples.append((time.perf_counter() - began) * 1000)
            computed.append(sum(shard["compute_ms"] for shard in run_metrics(run)["shards"]))
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
    return row(f"{member.name} {_named(way)}, batch {BATCH}", samples, **facts)


def throughput_cases(n: int) -> Iterator[Row]:
    """What more browsers bring: a batch over three against one, four streams against one."""
    browsers = sorted(living())[:3]
    (member,) = (item for item in members() if item.name == "bench-bert")
    one = _streams(member, 1, n, strategy="none", browsers=tuple(browsers[:1]))
    split = _streams(member, 1, n, strategy="data", shards=len(browsers), browsers=tuple(browsers))
    yield dataclasses.replace(one, name=f"one stream, whole, {browsers[0]}")
    yield dataclasses.replace(
        split,
        name=f"one stream, its batch over {len(browsers)} browsers",
        facts={**split.facts, "times_one": _ratio(split, one)},
    )
    wanted = {"strategy": "layer", "shards": len(browsers), "browsers": tuple(browsers)}
    single = _streams(member, 1, n, **wanted)
    four = _streams(member, 4, n, **wanted)
    yield dataclasses.replace(single, name=f"one stream, {len(browsers)} layer shards")
    yield dataclasses.replace(
        four,
        name=f"four streams, {len(browsers)} layer shards",
        facts={**four.facts, "times_one": _ratio(four, single)},
    )


def _ratio(row_: Row, base: Row) -> float:
    return round(row_.facts["requests_per_s"] / base.facts["requests_per_s"], 2)


def _streams(member: Member, streams: int, n: int, **way: Any) -> Row:
    """Requests one after another in each stream; how busy each browser was computing."""
    request = runs.RunRequest(
        model=member.name, inputs=member.inputs, platform="wasm", owner="bench", **way
    )
    for _ in range(WARM_UP):
        runs.infer(request)

    def stream(_: int) -> list[tuple[float, runs.Run]]:
        done = []
        for _number in range(n):
            began = time.perf_counter()
            run, _outputs = runs.infer(request)
            done.append(((time.perf_counter() - began) * 1000, run))
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as threads:
        answered = [item for done in threads.map(stream, range(streams)) for item in done]
    seconds = time.perf_counter() - began
    busy: dict[str, float] = {}
    for _, run in answered:
        for shard in run_metrics(run)["shards"]:
            busy[shard["browser"]] = busy.get(shard["browser"], 0.0) + shard["compute_ms"] / 1000
    utilisation = {
        f"busy_{name}": round(spent / seconds, 2) for name, spent in sorted(busy.items())
    }
    return row(
        "", [ms for ms, _ in answered], requests_per_s=round(len(answered) / seconds, 1),
        **utilisation,
    )  # fmt: skip
