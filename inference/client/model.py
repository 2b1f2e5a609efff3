"""A model of the pool, to be called like a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from inference.client.calls import Call
from inference.documents import JsonObject, JsonView


@dataclasses.dataclass(frozen=True)
class Selection:
    """Who chose where a model runs: "caller", "history" or "placement", which measures as it goes.

    `browsers` and `platform` are what was chosen; empty where each run decides (`metrics["decision"]`).
    """

    by: str
    browsers: tuple[str, ...] = ()
    platform: str = ""
    why: str = ""

    def to_json(self) -> JsonObject:
        return dataclasses.asdict(self)


class PoolModel:
    """A registered model, loaded in the pool.

    Calling it runs it once and blocks until the answer is there:

        answer = model({"input_ids": [101, 7592, 102]})
        answer["result"]["sentence_embedding"]     # numpy array
        answer["metrics"]["shards"][0]["browser"]  # where it really ran

    Attributes:
        name, model_type: as registered.
        selection: who chose where it runs.
        plan: the shards and where they were loaded, with the time in ms.
        standby: the browser that holds the model as well, should the first one fail; None: no other does.
    """

    def __init__(
        self,
        *,
        name: str,
        model_type: str,
        selection: Selection,
        plan: JsonView,
        call: Callable[[JsonView], Call],
        run: Callable[[Call], JsonObject],
    ) -> None:
        self.name, self.model_type = name, model_type
        self.selection, self.plan = selection, plan
        self.standby: str | None = None
        self._call, self._run = call, run

    def __call__(self, inputs: JsonView) -> JsonObject:
        """Run once.

        Args:
            inputs: name → numpy array or (nested) list; a missing batch dimension and declared defaults
                are filled in, and reported in `metrics["filled_in"]`.

        Returns:
            {"result": name → numpy array, "metrics": as `run_metrics`, with `run`, `filled_in` and
            `selection`}.

        Raises:
            WebpoolError: the request was refused or the run failed; its `category` says why.
        """
        return self._run(self.call(inputs))

    def call(self, inputs: JsonView) -> Call:
        """The call as `execute_concurrent` makes it."""
        return self._call(inputs)

    def __repr__(self) -> str:
        return f"<PoolModel {self.name} ({self.model_type}), placed by {self.selection.by}>"
