"""Rows of a run made by hand, and browsers published as a worker would, for tests of the ledger."""

from __future__ import annotations

import dataclasses
import time
import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from browsers.redis import client
from browsers.state import live
from inference.graph.batching.batch_axis import BatchAxis, Verdict
from inference.models import OnnxModel, Plan, PlanStep, Run, RunStep, StepKind
from inference.runs.creation import new_steps
from inference.scheduling import dispatch
from inference.scheduling.pool_view import snapshot

PORT = {"dtype": "float32", "shape": ["batch"]}


def publish(browser_id: str, **changes: Any) -> None:
    """A browser that is ready and can run wasm; its lease outlasts the slowest test."""
    ready = live.LiveBrowser(
        id=browser_id,
        kind=browser_id,
        family=browser_id,
        version="1",
        zone="here",
        state="ready",
        worker="test",
        heartbeat=time.time(),
        backends=(live.LiveBackend("wasm", None, 1.0),),
        memory_limit_mb=1000.0,
    )
    live.publish(dataclasses.replace(ready, **changes))
    client().pexpire(f"webpool:browser:{browser_id}", 600_000)


def make_run(strategy: str = "layer", shards: int = 2, **fields: Any) -> Run:
    """A run of a chain of shards (or a split batch), its ready shards assigned but not sent."""
    model = OnnxModel.objects.create(
        name=f"m-{uuid.uuid4().hex[:8]}", sha256="ab" * 32, file_bytes=1, weight_bytes=1,
        node_count=1, max_shards=shards, inputs=[{"name": "t0", **PORT}],
        outputs=[{"name": f"t{shards if strategy == 'layer' else 1}", **PORT}], summary={},
        batch_axis=BatchAxis(Verdict.PROVED, ("t0",)).to_json(),
    )  # fmt: skip
    plan = Plan.objects.create(
        model=model, model_sha256=model.sha256, strategy=strategy, num_shards=shards
    )
    chain = strategy == "layer"
    steps = [
        PlanStep(
            plan=plan, index=i, sha256=f"{i:064d}", file_bytes=1, weight_bytes=1, cost=1,
            inputs=[{"name": f"t{i if chain else 0}", **PORT}],
            outputs=[{"name": f"t{i + 1 if chain else 1}", **PORT}],
            depends_on=[i - 1] if chain and i else [],
            batch_part=None if chain else i,
        )
        for i in range(shards)
    ]  # fmt: skip
    if strategy == "data":
        rows_of_all = [[part, "t1"] for part in range(shards)]
        joined = {"tensor": "t1", "op": "concat", "axis": 0, "parts": rows_of_all}
        steps.append(
            PlanStep(
                plan=plan, index=shards, kind=StepKind.JOIN, outputs=[{"name": "t1", **PORT}],
                join=[joined], depends_on=list(range(shards)),
            )
        )  # fmt: skip
    plan_steps = PlanStep.objects.bulk_create(steps)
    now = timezone.now()
    defaults = {"max_retries": 3, "deadline_at": now + timedelta(seconds=60), "inputs": {}}
    run = Run(model=model, plan=plan, created_at=now, **{**defaults, **fields})
    rows = new_steps(run, plan_steps)
    ready = [row for row in rows if not row.plan_step.depends_on]
    dispatch.assign(run, ready, (), snapshot(), now)
    run.save(force_insert=True)
    RunStep.objects.bulk_create(rows)
    return run
