"""ModelShardingManager: cut a registered model and run it over the pool, from any Python script.

    manager = ModelShardingManager("minilm", num_shards=3, shard_type="layer")
    await manager.initialize_sharding()
    answer = await manager.run_inference_sharded({"input_ids": [101, 7592, 102]})
    answer["result"]["sentence_embedding"]        # numpy array
    answer["metrics"]["shards"][0]["browser"]     # where shard 0 really ran
    await manager.close()

A pool must be running (`make up`). No Django set-up by hand is needed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def _set_up_django() -> None:
    import django
    from django.apps import apps

    if not apps.ready:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
        django.setup()


class ModelShardingManager:
    """One model, cut one way, run as often as you like.

    Args:
        model_name: name of a registered model (`manage.py add_model`).
        num_shards: how many shards; None: one per browser, as far as the graph allows, or one per component.
        shard_type: "layer", "data", "component" or "none"; None: "component" for a model that is made of
            components, else "layer".
        model_type: when given, must be the registered type.
        max_connections: use at most this many browsers; None: all.
        browsers: ids, kinds or families that may be used, in order.
        platform: webnn, webgpu or wasm; empty: the fastest measured one of each browser.
        pins: shard index → "browser", "browser/platform" or "/platform".
        critical: spread the shards over browser families, then zones, before speed counts.
    """

    def __init__(
        self,
        model_name: str,
        num_shards: int | None = None,
        shard_type: str | None = None,
        model_type: str | None = None,
        max_connections: int | None = None,
        *,
        browsers: Sequence[str] = (),
        platform: str = "",
        pins: Mapping[int, str] | None = None,
        critical: bool = False,
    ) -> None:
        self.model_name, self.num_shards, self.shard_type = model_name, num_shards, shard_type
        self.model_type, self.max_connections = model_type, max_connections
        self.browsers, self.platform, self.pins = tuple(browsers), platform, dict(pins or {})
        self.critical = critical
        self._ready = False
        self._runs: list[dict[str, Any]] = []
        _set_up_django()

    async def initialize_sharding(self) -> dict[str, Any]:
        """Cut the model and load every shard into its browser.

        WebNN compiles a shard for the shapes of a run, so that its first run there loads once more.

        Returns:
            the plan: strategy, and per shard index, file bytes, browser and load time in ms.

        Raises:
            WebpoolError: unknown model or browser, too many shards, no pool.
        """
        plan = await asyncio.to_thread(self._initialize)
        self._ready = True
        return plan

    async def run_inference_sharded(
        self, inputs: Mapping[str, Any], max_retries: int | None = None
    ) -> dict[str, Any]:
        """Run once.

        Args:
            inputs: name → numpy array or (nested) list. A list that lacks only the batch dimension gets
                it, and inputs with a declared default may be left out; `metrics["filled_in"]` says both.
            max_retries: attempts after the first, per shard.

        Returns:
            {"result": name → numpy array, "metrics": SPEC S6, with `filled_in` and `run`}.

        Raises:
            RuntimeError: `initialize_sharding` was not awaited, or the manager is closed.
            WebpoolError: the request was refused or the run failed; its category says why.
        """
        if not self._ready:
            raise RuntimeError("await initialize_sharding() first; a closed manager stays closed")
        answer = await asyncio.to_thread(self._infer, inputs, max_retries)
        self._runs.append(answer["metrics"])
        return answer

    def get_metrics(self) -> dict[str, Any]:
        """What this manager's runs measured: their number, the latest, and the median time in ms."""
        times = [run["inference_time_ms"] for run in self._runs]
        return {
            "model": self.model_name,
            "shard_type": self.shard_type,
            "runs": len(self._runs),
            "median_inference_time_ms": statistics.median(times) if times else None,
            "latest": self._runs[-1] if self._runs else None,
        }

    async def close(self) -> None:
        """Give up this manager; the pool and the loaded shards stay for others."""
        self._ready = False

    def _initialize(self) -> dict[str, Any]:
        from inference import preload, registry
        from inference.errors import InvalidRequest

        model = registry.get_model(self.model_name)
        if self.model_type is not None and self.model_type != model.model_type:
            raise InvalidRequest(
                f"model {model.name} is of type {model.model_type}, not {self.model_type}"
            )
        if self.shard_type is None:
            self.shard_type = "component" if model.components else "layer"
        return preload.load_plan(self._request(()))

    def _infer(self, inputs: Mapping[str, Any], max_retries: int | None) -> dict[str, Any]:
        from inference import registry, runs
        from inference.inputs import from_python
        from inference.metrics import run_metrics
        from inference.tensors import decode_array

        prepared = from_python(registry.get_model(self.model_name), inputs)
        request = self._request(prepared.tensors, max_retries)
        run, outputs = runs.infer(request)
        metrics = {
            **run_metrics(run),
            "run": str(run.pk),
            "filled_in": [*prepared.filled_in, *run.filled_in],
        }
        return {"result": {t.name: decode_array(t) for t in outputs}, "metrics": metrics}

    def _request(self, tensors: Sequence[Any], max_retries: int | None = None) -> Any:
        from inference import preload, runs

        return runs.RunRequest(
            model=self.model_name,
            inputs=tensors,
            strategy=self.shard_type or "",
            shards=self.num_shards,
            browsers=self.browsers or preload.first_browsers(self.max_connections),
            platform=self.platform,
            pins=self.pins,
            critical=self.critical,
            max_retries=max_retries,
            owner="python",
        )
