"""The pool facade for Python: models to call, many calls at once, and how the pool is.

from inference.client import ResourcePoolBridgeIntegrationWithRecovery

with ResourcePoolBridgeIntegrationWithRecovery(max_connections=3) as pool:
    embed = pool.get_model("text_embedding", "minilm", {"browser": "firefox", "platform": "wasm"})
    answer = embed({"input_ids": [101, 7592, 102]})
    answers = pool.execute_concurrent([(embed, {"input_ids": [101, n, 102]}) for n in range(2000, 2100)])
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from browsers.core.naming import alone
from inference.client import calls, opening
from inference.client.calls import Call
from inference.client.connections import Connections
from inference.client.model import PoolModel, Selection
from inference.client.tally import Tally
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest

if TYPE_CHECKING:
    from history.performance import BrowserPerformanceHistory
    from inference.runs.requests import RunRequest


class ResourcePoolBridgeIntegrationWithRecovery:
    """A pool of browsers, joined or started, for one script.

    Recovery needs no call: a shard whose browser fails is moved, and the browser repaired.

    Args:
        max_connections: use at most this many browsers at a time; None: all.
        enable_browser_history: False: no choice is made by history.
        db_path: the file of the history; None: the pool's own. A pool that is started here keeps its history
            there. A running pool that keeps its history elsewhere is refused by `initialize`.

    A context manager: initialises, and closes at the end. Its methods block; they may be called from
    several threads, and where an event loop runs, which they hold up meanwhile.
    """

    def __init__(
        self,
        max_connections: int | None = None,
        enable_browser_history: bool = True,
        db_path: str | Path | None = None,
    ) -> None:
        self._connections = Connections(max_connections)
        self._with_history = enable_browser_history
        self._db_path = Path(db_path).expanduser().resolve() if db_path is not None else None
        self._handle: opening.PoolHandle | None = None
        self._lock = threading.Lock()
        self._tally = Tally()

    def initialize(self) -> bool:
        """Join the running pool, or start one; True when it serves. Again does nothing.

        Raises:
            Unavailable: the pool does not start; the message carries its last words.
            InvalidRequest: the running pool keeps its history in another file than `db_path`.
        """
        opening.set_up_django()
        with self._lock:
            if self._handle is None:
                handle = self._open()
                try:
                    self._check_history()
                except BaseException:
                    handle.release()
                    raise
                self._handle = handle
        return True

    def get_model(
        self,
        model_type: str | None,
        model_name: str,
        hardware_preferences: JsonView | None = None,
    ) -> PoolModel:
        """A registered model, loaded and ready to be called.

        Args:
            model_type: the registered type; None: whatever it is.
            hardware_preferences: `browser` (an id, kind or family, or a list of them) and `platform`
                (webnn, webgpu, wasm) always win. Besides, the options of a run: `strategy`, `shards`, `pins`,
                `strict`, `max_retries`, `deadline_s` and so on (docs/api.md).

        Raises:
            InvalidRequest: another type than was registered, or an unknown preference; UnknownModel,
                UnknownBrowser likewise.
            Unavailable: it could not be loaded.
        """
        self.check_open()
        options = options_of(hardware_preferences or {})
        return calls.in_thread(lambda: self._model(model_type, model_name, options))

    def accelerate_model(
        self,
        model_name: str,
        platform: str | None = None,
        error_recovery: JsonView | None = None,
    ) -> PoolModel:
        """A model on that platform, prepared for failures.

        Args:
            platform: webnn, webgpu or wasm; None: the fastest measured one of each browser.
            error_recovery: `max_retries`: attempts after the first, per shard. `performance_aware`: load
                the model also in the next fastest browser, so that a run that loses its browser goes on
                there at once; the model's `standby` names it, or is None when no other browser can take it.

        Raises:
            InvalidRequest: another key, or as `get_model`.
        """
        recovery = dict(error_recovery or {})
        prepare = recovery.pop("performance_aware", False)
        if not isinstance(prepare, bool) or set(recovery) - {"max_retries"}:
            raise InvalidRequest(
                "error_recovery: expected max_retries (a number) and performance_aware (True or "
                f"False), got {error_recovery!r:.200}"
            )
        wishes = {**recovery, **({"platform": platform} if platform else {})}
        model = self.get_model(None, model_name, wishes)
        if prepare:
            model.standby = calls.in_thread(lambda: self._load_standby(model, options_of(wishes)))
        return model

    def execute_concurrent(self, work: Sequence[tuple[PoolModel, JsonView]]) -> list[JsonObject]:
        """Run many (model, inputs) at once over the pool; the results are in their order.

        One that fails is a result of its own and costs the others nothing; a full pool is waited for.

        Returns:
            per item {"success": True, "result", "metrics", "error": None}, or {"success": False,
            "result": None, "metrics": None, "error": {"category", "message", "run"}}.
        """
        self.check_open()
        done = calls.wait_for(calls.answers([model.call(inputs) for model, inputs in work]))
        for (model, _), item in zip(work, done, strict=True):
            self._tally.count(model.name, item["metrics"])
        return done

    def get_metrics(self) -> JsonObject:
        """What this object's calls measured: numbers, times in ms, shards per browser, moves."""
        return {**self._tally.to_json(), "connections": list(self._connections.used)}

    def get_health_status(self) -> JsonObject:
        """How the pool is now; see `inference.client.health`."""
        self.check_open()
        from inference.client.health import health

        return {**calls.in_thread(health), "started_here": self.started_here}

    def export_telemetry(
        self, include_connections: bool = True, include_models: bool = True
    ) -> JsonObject:
        """The telemetry document of the whole pool, as `/api/telemetry/` gives it; null is not known."""
        self.check_open()
        from inference.telemetry import telemetry

        return calls.in_thread(
            lambda: telemetry(
                include_connections=include_connections, include_models=include_models
            )
        )

    @property
    def started_here(self) -> bool:
        """Whether this process started the pool, and will stop it."""
        return self._handle is not None and self._handle.started_here

    def close(self) -> None:
        """Give the pool up; a joined one stays, one that this process started stops. Idempotent."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.release()

    def __enter__(self) -> ResourcePoolBridgeIntegrationWithRecovery:
        self.initialize()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._handle is None else "started" if self.started_here else "joined"
        return f"<ResourcePoolBridgeIntegrationWithRecovery {state}>"

    def check_open(self) -> None:
        """Raises RuntimeError unless it is initialised and not closed."""
        if self._handle is None:
            raise RuntimeError(
                "call initialize() first, or use `with`; a closed pool needs it again"
            )

    def _open(self) -> opening.PoolHandle:
        cancelled = threading.Event()
        environment = {"WEBPOOL_HISTORY_PATH": str(self._db_path)} if self._db_path else {}
        try:
            return calls.in_thread(
                lambda: opening.open_pool(environment=environment, cancelled=cancelled)
            )
        except BaseException:
            cancelled.set()  # an interrupt does not wait until the pool has started
            raise

    def _check_history(self) -> None:
        kept = opening.history_path()
        if self._db_path is not None and self._db_path != kept:
            raise InvalidRequest(
                f"db_path: the running pool keeps its history in {kept}, and you ask for {self._db_path}; "
                "leave db_path out, or stop that pool first"
            )

    def _model(self, model_type: str | None, model_name: str, options: JsonObject) -> PoolModel:
        from browsers.state.live import living
        from inference.catalog import registry
        from inference.client import preload
        from inference.client.choosing import choose
        from inference.client.requests import check_type

        model = registry.get_model(model_name)
        check_type(model, model_type)
        selection = choose(
            model,
            options,
            living().values(),
            with_history=self._with_history,
            bounded=self._connections.bounded,
        )
        if selection.by == "history":
            selection = self._within_bound(selection)
        plan = preload.load_plan(self._request(model_name, selection, options, {}))
        return PoolModel(
            name=model.name,
            model_type=model.model_type,
            selection=selection,
            plan=plan,
            call=lambda inputs: Call(
                model_name,
                lambda: self._request(model_name, selection, options, inputs),
                {"selection": selection.to_json()},
            ),
            run=self._run,
        )

    def _within_bound(self, selection: Selection) -> Selection:
        """Nobody asked for what history recommends: where all connections are taken it is left out."""
        from browsers.state.live import living

        try:
            self._connections.allowed(selection.browsers, living)
        except InvalidRequest as full:
            return Selection("placement", why=f"history recommends {selection.why}, but {full}")
        return selection

    def _load_standby(self, model: PoolModel, options: JsonObject) -> str | None:
        """Load the model once more, where placement would put it without the browsers it is in."""
        from browsers.state.live import living
        from inference.client import preload
        from inference.client.requests import request_for

        names = {one.id: alone(one.id, one.kind) for one in living().values()}
        allowed = self._connections.allowed((), living) or tuple(names.values())
        holders = {names.get(shard["browser"]) for shard in model.plan["shards"]}
        others = tuple(name for name in allowed if name not in holders)
        if not others:
            return None
        try:
            request = request_for(model.name, {}, {**options, "browsers": others})
            loaded = preload.load_plan(request)
        except InvalidRequest:  # none of them can take it
            return None
        browsers: list[str] = [shard["browser"] for shard in loaded["shards"]]
        return browsers[0] if len(browsers) == 1 else ", ".join(browsers)

    @property
    def browser_history(self) -> BrowserPerformanceHistory | None:
        """The history of this pool; None when `enable_browser_history` is False."""
        if not self._with_history:
            return None
        from history.performance import BrowserPerformanceHistory

        return BrowserPerformanceHistory()

    def _request(
        self,
        name: str,
        selection: Selection,
        options: JsonView,
        inputs: JsonView,
    ) -> RunRequest:
        from browsers.state.live import living
        from inference.client.requests import request_for

        browsers = self._connections.allowed(selection.browsers, living)
        if not (browsers or self._with_history):
            browsers = tuple(
                living()
            )  # who names all of them asks for none, and leaves history out
        wishes = {**options, "browsers": browsers, "platform": selection.platform}
        return request_for(name, inputs, wishes)

    def _run(self, call: Call) -> JsonObject:
        self.check_open()
        name = call.model
        try:
            done = calls.wait_for(calls.answer(call))
        except Exception:
            self._tally.count(name, None)
            raise
        self._tally.count(name, done["metrics"])
        return done


def options_of(preferences: JsonView) -> JsonObject:
    """`hardware_preferences` as options of a run, `browser` taken for `browsers`."""
    from inference.runs.options import Door, parse_options

    given = dict(preferences)
    if "browser" in given:
        if "browsers" in given:
            raise InvalidRequest("hardware_preferences: expected browser or browsers, got both")
        given["browsers"] = given.pop("browser")
    return parse_options(given, Door.PREFERENCES)
