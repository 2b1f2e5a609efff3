"""manage.py plan: cut a model and show each shard's bytes, cost and crossing tensors."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from inference import auto, plans, registry
from inference.management.cli import WebpoolCommand
from inference.models import OnnxModel, Plan, StepKind, Strategy
from inference.runs import RunRequest, pool_for


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
        for step in report["shards"]:
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
        name = f"{step['kind'] if step['kind'] == StepKind.JOIN else 'shard'} {step['index']}"
        group = f"  {step['group']}" if step["group"] else ""
        if step["kind"] == StepKind.JOIN:
            made = ", ".join(f"{item['tensor']} ({item['op']})" for item in step["join"])
            self.stdout.write(f"{name}: {made}  after {step['depends_on']}{group}")
            return
        self.stdout.write(
            f"{name}: {step['file_bytes'] / 2**20:8.2f} MB  cost {step['cost']:6.1%}  "
            f"{step['node_count']:5} nodes  after {step['depends_on']}{group}"
        )
        for port in step["inputs"]:
            source = f" from {port['tensor']}" if "tensor" in port else ""
            self.stdout.write(f"    takes {port['name']}: {port['dtype']}{port['shape']}{source}")


def describe(plan: Plan) -> dict[str, Any]:
    """What a plan is made of, as JSON; `inputs` of a shard are what crosses into it."""
    shards = plans.steps_of(plan)
    return {
        "id": plan.pk,
        "model": plan.model.name,
        "strategy": plan.strategy,
        "num_shards": plan.num_shards,
        "shard_bytes": sum(shard.file_bytes for shard in shards),
        "copied_bytes": sum(shard.copied_bytes for shard in shards),
        "shards": [
            {
                "index": shard.index,
                "kind": shard.kind,
                "group": shard.group,
                "sha256": shard.sha256,
                "file_bytes": shard.file_bytes,
                "weight_bytes": shard.weight_bytes,
                "copied_bytes": shard.copied_bytes,
                "cost": shard.cost,
                "node_count": shard.node_count,
                "depends_on": shard.depends_on,
                "inputs": shard.inputs,
                "outputs": shard.outputs,
                "join": shard.join,
            }
            for shard in shards
        ],
    }
