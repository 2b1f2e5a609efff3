"""manage.py plan: cut a model and show each shard's bytes, cost and crossing tensors."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from inference import auto, plans, registry
from inference.management.cli import WebpoolCommand
from inference.models import OnnxModel, Plan, Strategy
from inference.requests import RunRequest, pool_for


class Command(WebpoolCommand):
    help = "Cut a registered model and show the plan."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        parser.add_argument("--strategy", choices=Strategy.values, default=None)
        parser.add_argument("--shards", type=int, help="2, unless graph or components decide")
        parser.add_argument(
            "--rows", type=int, help="with strategy auto: the batch, if it may be split"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        model = registry.get_model(options["model"])
        strategy = options["strategy"] or plans.usual_strategy(model)
        if strategy == Strategy.AUTO:
            self._predict(model, options)
            return
        shards = plans.usual_shards(strategy, options["shards"])
        plan = plans.ensure_plan(model, strategy, shards)
        report = describe(plan)
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
            return
        self.stdout.write(
            f"{plan}: model {model.file_bytes / 2**20:.2f} MB, shards together "
            f"{report['shard_bytes'] / 2**20:.2f} MB, of which copies "
            f"{report['copied_bytes'] / 2**20:.2f} MB"
        )
        for step in sorted(report["shards"] + report["joins"], key=lambda step: step["index"]):
            self._print(step)

    def _predict(self, model: OnnxModel, options: dict[str, Any]) -> None:
        pool = pool_for(RunRequest(model=model.name, inputs=()))
        decision = auto.decide(model, pool, rows=options["rows"])
        if options["json"]:
            self.stdout.write(json.dumps(decision.explanation, indent=2))
            return
        for way in decision.explanation["considered"]:
            time = (
                "not possible" if way["predicted_ms"] is None else f"{way['predicted_ms']:.1f} ms"
            )
            self.stdout.write(
                f"{way['strategy']} × {way['shards']}: {time}  {way['reason']}".rstrip()
            )
        self.stdout.write(
            f"chosen: {decision.strategy} × {decision.shards}; a hop counts as "
            f"{decision.explanation['hop_ms']:.1f} ms ({decision.explanation['hop_samples']} runs measured)"
        )
        for step in decision.explanation["steps"]:
            self.stdout.write(
                f"    step {step['index']} on {step['browser']}: {step['compute_ms']:.1f} ms computing "
                f"({step['basis']})"
            )

    def _print(self, step: dict[str, Any]) -> None:
        group = f"  {step['group']}" if step["group"] else ""
        if "join" in step:
            made = ", ".join(f"{item['tensor']} ({item['op']})" for item in step["join"])
            self.stdout.write(f"join {step['index']}: {made}  after {step['depends_on']}{group}")
            return
        self.stdout.write(
            f"shard {step['index']}: {step['file_bytes'] / 2**20:8.2f} MB  cost {step['cost']:6.1%}  "
            f"{step['node_count']:5} nodes  after {step['depends_on']}{group}"
        )
        for port in step["inputs"]:
            source = f" from {port['tensor']}" if "tensor" in port else ""
            self.stdout.write(f"    takes {port['name']}: {port['dtype']}{port['shape']}{source}")


_SHARD = (
    "index", "group", "part", "sha256", "file_bytes", "weight_bytes", "copied_bytes", "cost",
    "node_count", "depends_on", "inputs", "outputs",
)  # fmt: skip
_JOIN = ("index", "group", "depends_on", "outputs", "join")


def describe(plan: Plan) -> dict[str, Any]:
    """What a plan is made of, as JSON; `inputs` of a shard are what crosses into it."""
    return {
        "id": plan.pk,
        "model": plan.model.name,
        "strategy": plan.strategy,
        "num_shards": plan.num_shards,
        "shard_bytes": sum(shard.file_bytes for shard in plan.computing),
        "copied_bytes": sum(shard.copied_bytes for shard in plan.computing),
        "shards": [{key: getattr(step, key) for key in _SHARD} for step in plan.computing],
        "joins": [{key: getattr(step, key) for key in _JOIN} for step in plan.joining],
    }
