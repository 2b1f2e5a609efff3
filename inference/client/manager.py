"""ModelShardingManager: cut a registered model and run it over the pool, from any Python script.

    manager = ModelShardingManager("minilm", num_shards=3, shard_type="layer")
    await manager.initialize_sharding()
    answer = await manager.run_inference_sharded({"input_ids": [101, 7592, 102]})
    answer["result"]["sentence_embedding"]        # numpy array
    answer["metrics"]["shards"][0]["browser"]     # where shard 0 really ran
    await manager.close()

The running pool is joined; where there is none, one is started and stopped again. No Django set-up by hand.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING

from inference.client import calls, opening
from inference.client.calls import Call
from inference.client.connections import Connections
from inference.documents import JsonObject, JsonView

if TYPE_CHECKING:
    from inference.runs.requests import RunRequest

_LATEST = 1000


class ModelShardingManager:
    """One model, cut one way, run as often as you like, also several times at once.

    Args:
        model_name: name of a registered model (`manage.py add_model`).
        num_shards: how many shards; None: one per browser, as far as graph and batch allow, or what the
            strategy fixes.
        shard_type: a strategy of docs/sharding.md: "layer", "attention_feedforward", "component", "tensor",
            "data", "auto", "none"; None: "component" for a model that is made of components, else "layer".
        model_type: when given, must be the registered type.
        max_connections: use at most this many browsers at a time; None: all.
        options: of each run, such as `browsers`, `platform`, `pins`, `redundancy`; see docs/api.md.

    Raises:
        InvalidRequest: an option that there is not, or a value that cannot be.

    An asynchronous context manager: initialises, and closes at the end.
    """

    def __init__(
        self,
        model_name: str,
        num_shards: int | None = None,
        shard_type: str | None = None,
        model_type: str | None = None,
        max_connections: int | None = None,
        **options: object,
    ) -> None:
        opening.set_up_django()
        from inference.runs.options import Door, parse_options

        cut = {"strategy": shard_type, "shards": num_shards}
        self.options = parse_options({**options, **cut}, Door.MANAGER)
        self.model_name, self.num_shards, self.shard_type = model_name, num_shards, shard_type
        self.model_type, self.max_connections = model_type, max_connections
        self._connections = Connections(max_connections)
        self._handle: opening.PoolHandle | None = None
        self._times_ms: deque[float] = deque(maxlen=_LATEST)
        self._succeeded = self._failed = 0
        self._latest: JsonObject | None = None

    async def initialize_sharding(self) -> JsonObject:
        """Join or start the pool, cut the model and load every shard into its browser.

        WebNN compiles a shard for the shapes of a run, so that its first run there loads once more.

        Returns:
            the plan: strategy, and per shard index, file bytes, browser and load time in ms.

        Raises:
            WebpoolError: the pool does not start; unknown model or browser, too many shards.
        """
        from inference.runs import serving

        if self._handle is None:
            self._handle = await _opened()
        try:
            return await serving.in_thread(self._initialize)
        except BaseException:
            await self.close()
            raise

    async def run_inference_sharded(
        self, inputs: JsonView, max_retries: int | None = None
    ) -> JsonObject:
        """Run once; a caller that is cancelled cancels the run.

        Args:
            inputs: name → numpy array or (nested) list. A list that lacks only the batch dimension gets
                it, and inputs with a declared default may be left out; `metrics["filled_in"]` says both.
            max_retries: attempts after the first, per shard; None: as the manager's.

        Returns:
            {"result": name → numpy array, "metrics": as `run_metrics`, with `filled_in` and `run`}.

        Raises:
            RuntimeError: `initialize_sharding` was not awaited, or the manager is closed.
            WebpoolError: the request was refused or the run failed; its category says why.
        """
        if self._handle is None:
            raise RuntimeError("await initialize_sharding() first; a closed manager needs it again")
        try:
            answer = await calls.answer(
                Call(self.model_name, lambda: self.request(inputs, max_retries))
            )
        except Exception:
            self._failed += 1
            raise
        self._succeeded += 1
        self._latest = answer["metrics"]
        if self._latest["inference_time_ms"] is not None:
            self._times_ms.append(self._latest["inference_time_ms"])
        return answer

    def get_metrics(self) -> JsonObject:
        """What this manager's runs measured: their number, the latest, and the median time in ms."""
        return {
            "model": self.model_name,
            "shard_type": self.shard_type,
            "runs": self._succeeded,
            "failed": self._failed,
            "median_inference_time_ms": statistics.median(self._times_ms)
            if self._times_ms
            else None,
            "latest": self._latest,
        }

    async def close(self) -> None:
        """Give up this manager; a joined pool and the loaded shards stay, an own pool stops. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            from inference.runs import serving

            await serving.in_thread(handle.release)

    async def __aenter__(self) -> ModelShardingManager:
        await self.initialize_sharding()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _initialize(self) -> JsonObject:
        from inference.catalog import registry
        from inference.client import preload
        from inference.client.requests import check_type

        model = registry.get_model(self.model_name)
        check_type(model, self.model_type)
        if self.shard_type is None:
            self.shard_type = "component" if model.components else "layer"
        return preload.load_plan(self.request({}))

    def request(self, inputs: JsonView, max_retries: int | None = None) -> RunRequest:
        """What a run of these inputs is asked for."""
        from browsers.state.live import living
        from inference.client.requests import request_for

        options = {
            **self.options,
            "strategy": self.shard_type or "",
            "browsers": self._connections.allowed(self.options.get("browsers", ()), living),
        }
        if max_retries is not None:
            options["max_retries"] = max_retries
        return request_for(self.model_name, inputs, options)


async def _opened() -> opening.PoolHandle:
    from inference.runs import serving

    cancelled = threading.Event()
    try:
        return await serving.in_thread(lambda: opening.open_pool(cancelled=cancelled))
    except BaseException:
        cancelled.set()  # whoever is interrupted does not wait until the pool has started
        raise
