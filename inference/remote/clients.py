"""Client and AsyncClient: the same methods, of which one blocks and the other is awaited.

Both keep connections open between requests: close them, or use `with` and `async with`. A Client may be
used by several threads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, Unpack

import httpx2

from . import calls
from .answers import Answer, Comparison, Model, Run
from .calls import LONGEST_WAIT_S, Call, Compared, Options, Wishes
from .errors import Unreachable
from .tensors import Array, JsonObject

T = TypeVar("T")
Form: TypeAlias = Literal["html", "junit"]
HERE = "http://127.0.0.1:8000"
ANSWER_WITHIN_S = 300.0
_CONNECT_WITHIN_S = 10.0
_LOOK_EVERY_S = 1.0
_ASK_EVERY_S = 0.2


class _Address:
    """Where the pool is, who calls, and how long an answer may take."""

    def __init__(self, url: str | None, key: str | None, timeout_s: float) -> None:
        key = key or os.environ.get("WEBPOOL_API_KEY")
        self.url = (url or os.environ.get("WEBPOOL_URL") or HERE).rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.timeout = httpx2.Timeout(timeout_s, connect=_CONNECT_WITHIN_S)

    def lost(self, call: Call[T], error: httpx2.TransportError) -> Unreachable:
        return Unreachable(
            f"{call.method} {self.url}{call.path}: {type(error).__name__}: {error}; is a pool running there? "
            "(`webpool up`; the address is the argument `url`, or WEBPOOL_URL)"
        )


def _either(inputs: object, texts: object) -> None:
    if (inputs is None) == (texts is None):
        raise TypeError("expected either inputs (arrays by name) or texts")


def _late(what: str, timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"{what} is still running after {timeout_s} s; it goes on")


def _too_soon_s(asked: float) -> float:
    """What is left of a fifth of a second: a pool where too many wait answers at once."""
    return max(0.0, asked + _ASK_EVERY_S - time.monotonic())


class Client:
    """A pool, called from a program that waits.

    Args:
        url: where it is; left out: WEBPOOL_URL, else this machine, port 8000.
        key: an API key; left out: WEBPOOL_API_KEY, else none, which loopback alone may do.
        timeout_s: how long the answer of one request may take.

    Every method raises a PoolError where the pool refuses, fails or is not there.
    """

    def __init__(
        self, url: str | None = None, *, key: str | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> None:
        self._at = _Address(url, key, timeout_s)
        self._http = httpx2.Client(
            base_url=self._at.url, headers=self._at.headers, timeout=self._at.timeout
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._at.url}>"

    def close(self) -> None:
        self._http.close()

    def ready(self) -> bool:
        """Whether a browser is ready to compute; False also where nobody answers."""
        try:
            return self._do(calls.ready())
        except Unreachable:
            return False

    def infer(self, model: str, inputs: Mapping[str, Array], **options: Unpack[Options]) -> Answer:
        """Run a model and wait for its outputs. A caller that leaves meanwhile ends the run.

        Args:
            inputs: by name; an array's type must be the port's, and its shape, the batch included, too.
        """
        return self._do(calls.infer(model, inputs, options))

    def infer_texts(self, model: str, texts: Sequence[str], **options: Unpack[Options]) -> Answer:
        """Run a model that has a tokenizer on texts, a row each, and wait for its outputs."""
        return self.outputs(self.wait(self.start(model, texts=texts, **options)))

    def attempt(
        self,
        model: str,
        *,
        texts: Sequence[str] = (),
        files: Mapping[str, Path | str] | None = None,
        **wishes: Unpack[Wishes],
    ) -> JsonObject:
        """Try a model on what people have, and wait: texts, or a picture's or sound's file per input.

        What a picture becomes, and what outputs are shown as, is declared with the model (webpool.json).

        Returns:
            `outputs` (each with `kind`: labels, image, vector or values), `shards`, `took_ms`, `run`.
        """
        return self._do(calls.attempt(model, texts, files or {}, wishes))

    def start(
        self,
        model: str,
        inputs: Mapping[str, Array] | None = None,
        *,
        texts: Sequence[str] | None = None,
        wait_s: float = 0.0,
        **options: Unpack[Options],
    ) -> Run:
        """Start a run. It goes on whoever leaves; `wait_s`: return later, if it ends within that."""
        _either(inputs, texts)
        return self._do(calls.start(model, inputs, texts, options, wait_s))

    def run(self, run_id: str) -> Run:
        """A run as it is now."""
        return self._do(calls.run(run_id))

    def wait(self, run: Run, timeout_s: float | None = None) -> Run:
        """Wait until a run has ended, as its `state` says.

        Raises:
            TimeoutError: it has not within `timeout_s`; None: however long it takes.
        """
        until = time.monotonic() + (timeout_s if timeout_s is not None else float("inf"))
        while not run.ended:
            if (left := until - time.monotonic()) <= 0:
                raise _late(f"run {run.id}", timeout_s)
            asked = time.monotonic()
            run = self._do(calls.run(run.id, min(left, LONGEST_WAIT_S)))
            if not run.ended:
                time.sleep(_too_soon_s(asked))
        return run

    def outputs(self, run: Run) -> Answer:
        """The outputs of a run that has ended; raises PoolError with its category where it failed."""
        return self._do(calls.outputs(run.id))

    def cancel(self, run: Run) -> Run:
        """End a run that nobody wants any more."""
        return self._do(calls.cancel(run.id))

    def models(self) -> list[Model]:
        """All registered models."""
        found: list[Model] = []
        more = True
        while more:
            page, more = self._do(calls.models(len(found)))
            found += page
        return found

    def model(self, name: str) -> Model:
        return self._do(calls.model(name))

    def compare(self, model: str, **compared: Unpack[Compared]) -> Comparison:
        """Start a comparison of browsers, backends and strategies, such as `layer:2`.

        Left out: one browser of each kind and version, every backend, the model as it is, random inputs.
        """
        return self._do(calls.compare(model, compared))

    def comparison(self, comparison_id: str) -> Comparison:
        """A comparison as far as it is now."""
        return self._do(calls.comparison(comparison_id))

    def wait_comparison(self, comparison: Comparison, timeout_s: float | None = None) -> Comparison:
        """Wait until a comparison has ended.

        Raises:
            TimeoutError: as `wait`.
        """
        until = time.monotonic() + (timeout_s if timeout_s is not None else float("inf"))
        while not comparison.ended:
            if time.monotonic() >= until:
                raise _late(f"comparison {comparison.id}", timeout_s)
            time.sleep(_LOOK_EVERY_S)
            comparison = self.comparison(comparison.id)
        return comparison

    def comparison_file(self, comparison: Comparison, form: Form = "html") -> str:
        """It as a file: one page of HTML that needs no server, or JUnit's XML."""
        return self._do(calls.comparison_as(comparison.id, form))

    def _do(self, call: Call[T]) -> T:
        try:
            response = self._http.request(
                call.method, call.path, params=dict(call.params), headers=dict(call.headers),
                content=call.content,
            )  # fmt: skip
        except httpx2.TransportError as error:
            raise self._at.lost(call, error) from error
        return call.result(response)


class AsyncClient:
    """A pool, called from asyncio: as `Client`, with methods that are awaited."""

    def __init__(
        self, url: str | None = None, *, key: str | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> None:
        self._at = _Address(url, key, timeout_s)
        self._http = httpx2.AsyncClient(
            base_url=self._at.url, headers=self._at.headers, timeout=self._at.timeout
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._at.url}>"

    async def close(self) -> None:
        await self._http.aclose()

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return await self._do(calls.ready())
        except Unreachable:
            return False

    async def infer(
        self, model: str, inputs: Mapping[str, Array], **options: Unpack[Options]
    ) -> Answer:
        """As `Client.infer`; a task that is cancelled ends its run."""
        return await self._do(calls.infer(model, inputs, options))

    async def infer_texts(
        self, model: str, texts: Sequence[str], **options: Unpack[Options]
    ) -> Answer:
        """As `Client.infer_texts`."""
        run = await self.start(model, texts=texts, **options)
        return await self.outputs(await self.wait(run))

    async def attempt(
        self,
        model: str,
        *,
        texts: Sequence[str] = (),
        files: Mapping[str, Path | str] | None = None,
        **wishes: Unpack[Wishes],
    ) -> JsonObject:
        """As `Client.attempt`."""
        return await self._do(calls.attempt(model, texts, files or {}, wishes))

    async def start(
        self,
        model: str,
        inputs: Mapping[str, Array] | None = None,
        *,
        texts: Sequence[str] | None = None,
        wait_s: float = 0.0,
        **options: Unpack[Options],
    ) -> Run:
        """As `Client.start`."""
        _either(inputs, texts)
        return await self._do(calls.start(model, inputs, texts, options, wait_s))

    async def run(self, run_id: str) -> Run:
        """As `Client.run`."""
        return await self._do(calls.run(run_id))

    async def wait(self, run: Run, timeout_s: float | None = None) -> Run:
        """As `Client.wait`."""
        until = time.monotonic() + (timeout_s if timeout_s is not None else float("inf"))
        while not run.ended:
            if (left := until - time.monotonic()) <= 0:
                raise _late(f"run {run.id}", timeout_s)
            asked = time.monotonic()
            run = await self._do(calls.run(run.id, min(left, LONGEST_WAIT_S)))
            if not run.ended:
                await asyncio.sleep(_too_soon_s(asked))
        return run

    async def outputs(self, run: Run) -> Answer:
        """As `Client.outputs`."""
        return await self._do(calls.outputs(run.id))

    async def cancel(self, run: Run) -> Run:
        """As `Client.cancel`."""
        return await self._do(calls.cancel(run.id))

    async def models(self) -> list[Model]:
        """As `Client.models`."""
        found: list[Model] = []
        more = True
        while more:
            page, more = await self._do(calls.models(len(found)))
            found += page
        return found

    async def model(self, name: str) -> Model:
        return await self._do(calls.model(name))

    async def compare(self, model: str, **compared: Unpack[Compared]) -> Comparison:
        """As `Client.compare`."""
        return await self._do(calls.compare(model, compared))

    async def comparison(self, comparison_id: str) -> Comparison:
        """As `Client.comparison`."""
        return await self._do(calls.comparison(comparison_id))

    async def wait_comparison(
        self, comparison: Comparison, timeout_s: float | None = None
    ) -> Comparison:
        """As `Client.wait_comparison`."""
        until = time.monotonic() + (timeout_s if timeout_s is not None else float("inf"))
        while not comparison.ended:
            if time.monotonic() >= until:
                raise _late(f"comparison {comparison.id}", timeout_s)
            await asyncio.sleep(_LOOK_EVERY_S)
            comparison = await self.comparison(comparison.id)
        return comparison

    async def comparison_file(self, comparison: Comparison, form: Form = "html") -> str:
        """As `Client.comparison_file`."""
        return await self._do(calls.comparison_as(comparison.id, form))

    async def _do(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(
                call.method, call.path, params=dict(call.params), headers=dict(call.headers),
                content=call.content,
            )  # fmt: skip
        except httpx2.TransportError as error:
            raise self._at.lost(call, error) from error
        return call.result(response)
