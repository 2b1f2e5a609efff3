"""manage.py plan: cut a model and show each shard's bytes, cost and crossing tensors.

With `--pool`, into the memory of browsers that need not run; with `--outline`, a published model's shape.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import TypedDict

from django.conf import settings

from browsers.drivers import get_driver
from inference.catalog import plans, registry
from inference.catalog.memory_plan import Placed, parse_pool, plan_in_memory
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.graph.model import load
from inference.management.cli import TypedCommand
from inference.management.options import add_options, read_options
from inference.models import OnnxModel, Plan, Strategy
from inference.runs import auto
from inference.runs.options import Door
from inference.runs.requests import RunRequest, pool_for
from inference.store.files import path_of
from inference.zoo.families import SHAPES, shape_only
from inference.zoo.precision import PRECISIONS

_MOST_ROWS = 2**31 - 1


class _Options(TypedDict):
    model: str | None
    outline: str | None
    precision: str
    pool: str | None
    rows: int | None
    json: bool


class Command(TypedCommand[_Options]):
    help = "Cut a registered model and show the plan."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", nargs="?")
        parser.add_argument(
            "--outline", choices=sorted(SHAPES), help="a published model's shape, without weights"
        )
        parser.add_argument(
            "--precision", choices=PRECISIONS, default="float32", help="of its weights"
        )
        parser.add_argument(
            "--pool", metavar="BROWSERS",
            help="plan into the memory of these: kind[:count][@GB] by comma, such as chrome:3@4,firefox",
        )  # fmt: skip
        add_options(parser, Door.PLANS)
        parser.add_argument(
            "--rows", type=int, help="with strategy auto: the batch, if it may be split"
        )
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        name = options["model"]
        if bool(name) == bool(options["outline"]):
            raise InvalidRequest("expected MODEL or --outline")
        if options["pool"]:
            self._fit(options, options["pool"])
            return
        if not name:
            raise InvalidRequest("--outline needs --pool: which browsers are planned for")
        wishes = read_options(options, Door.PLANS)
        model = registry.get_model(name)
        if wishes.get("strategy") == Strategy.AUTO:
            self._predict(
                model, options, allow_unproved_split=wishes.get("allow_unproved_split", False)
            )
            return
        with self.acting("cut", f"model {model.name}") as said:
            plan = plans.asked_plan(model, **wishes)
            said.detail, said.changed = str(plan), plan.is_new
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
        self.stdout.write(f"splitting a batch by rows: {model.batch}")

    def _predict(self, model: OnnxModel, options: _Options, *, allow_unproved_split: bool) -> None:
        rows = options["rows"]
        if rows is not None and not 1 <= rows <= _MOST_ROWS:
            raise InvalidRequest(
                f"--rows: expected a whole number from 1 to {_MOST_ROWS}, got {rows}"
            )
        pool = pool_for(RunRequest(model=model.name, inputs=()))
        decision = auto.decide(
            model,
            pool,
            rows=rows,
            allow_unproved_split=allow_unproved_split,
        )
        if options["json"]:
            self.stdout.write(json.dumps(decision.explanation, indent=2))
            return
        for way in decision.explanation["considered"]:
            time = (
                "not possible" if way["predicted_ms"] is None else f"{way['predicted_ms']:.1f} ms"
            )
            self.stdout.write(f"{_way(way)}: {time}  {way['reason']}".rstrip())
        self.stdout.write(
            f"chosen: {_way(decision.explanation)}; "
            f"a hop counts as {decision.explanation['hop_ms']:.1f} ms "
            f"({decision.explanation['hop_samples']} runs measured), "
            f"a join as {decision.explanation['join_ms']:.1f} ms "
            f"({decision.explanation['join_samples']} measured)"
        )
        for step in decision.explanation["steps"]:
            self.stdout.write(
                f"    step {step['index']} on {step['browser']}: {step['compute_ms']:.1f} ms computing "
                f"({step['basis']})"
            )

    def _fit(self, options: _Options, written: str) -> None:
        pool = parse_pool(
            written,
            family_of=lambda kind: get_driver(kind).family,
            limits_mb=settings.WEBPOOL_MEMORY_LIMIT_MB,
        )
        if options["outline"]:
            graph = shape_only(SHAPES[options["outline"]], PRECISIONS[options["precision"]])
        else:
            graph = load(path_of(registry.get_model(options["model"] or "").sha256))
        placed = plan_in_memory(graph, pool, weights=options["precision"])
        if options["json"]:
            self.stdout.write(json.dumps([_placed(one) for one in placed], indent=2))
            return
        weights = sum(one.step.weight_bytes for one in placed)
        self.stdout.write(
            f"{options['outline'] or options['model']}: {weights / 1e9:.2f} GB of weights in {len(placed)} "
            f"shards, for {len(placed)} of {len(pool)} browsers"
        )
        for one in placed:
            self.stdout.write(
                f"shard {one.step.index:>2} on {one.limit.browser:<12} "
                f"{one.step.weight_bytes / 1e6:6.0f} MB, {len(one.step.nodes):>5} nodes; takes "
                f"{one.planned_mb:6.0f} of {one.limit.memory_mb:.0f} MB"
            )

    def _print(self, step: JsonObject) -> None:
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


def _way(way: JsonObject) -> str:
    copies = f"data × {way['data_parallel']} of " if way["data_parallel"] > 1 else ""
    return f"{copies}{way['strategy']} × {way['shards']}"


def _placed(one: Placed) -> JsonObject:
    step = one.step
    return {
        "index": step.index,
        "browser": one.limit.browser,
        "memory_limit_mb": one.limit.memory_mb,
        "planned_mb": round(one.planned_mb, 1),
        "weight_bytes": step.weight_bytes,
        "node_count": len(step.nodes),
        "depends_on": list(step.depends_on),
        "crossing_bytes": step.crossing_bytes,
    }


_SHARD = (
    "index", "group", "part", "sha256", "file_bytes", "weight_bytes", "copied_bytes", "cost",
    "node_count", "depends_on", "inputs", "outputs",
)  # fmt: skip
_JOIN = ("index", "group", "depends_on", "outputs", "join")


def describe(plan: Plan) -> JsonObject:
    """What a plan is made of, as JSON; `inputs` of a shard are what crosses into it."""
    return {
        "id": plan.pk,
        "model": plan.model.name,
        "strategy": plan.strategy,
        "num_shards": plan.num_shards,
        "data_parallel": plan.data_parallel,
        "batch_axis": plan.model.batch_axis,
        "shard_bytes": sum(shard.file_bytes for shard in plan.computing),
        "copied_bytes": sum(shard.copied_bytes for shard in plan.computing),
        "shards": [{key: getattr(step, key) for key in _SHARD} for step in plan.computing],
        "joins": [{key: getattr(step, key) for key in _JOIN} for step in plan.joining],
    }
