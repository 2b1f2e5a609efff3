"""What the pool says, typed: the fields that programs read first, and `document`, which has all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .tensors import Array, JsonObject

RUNNING = "running"


@dataclass(frozen=True)
class Answer(Mapping[str, Array]):
    """The outputs of a run, by name, and where it really ran.

    Attributes:
        run: the run's id; `Client.run` tells its times, attempts and shards.
        browsers, backends: of each shard, in order; empty where the answer did not come at once.
        parameters: all that the response says besides.
    """

    outputs: dict[str, Array] = field(repr=False)
    run: str
    browsers: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    parameters: JsonObject = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class Model:
    """A registered model; `inputs` and `outputs` have `name`, `dtype` and `shape` each."""

    name: str
    model_type: str
    sha256: str
    inputs: list[JsonObject] = field(repr=False)
    outputs: list[JsonObject] = field(repr=False)
    document: JsonObject = field(repr=False)


@dataclass(frozen=True)
class Run:
    """A run as it stands: `metrics` has times, shards, browsers, attempts and recovery."""

    id: str
    model: str
    state: str
    error: str
    error_category: str
    metrics: JsonObject = field(repr=False)
    document: JsonObject = field(repr=False)

    @property
    def ended(self) -> bool:
        return self.state != RUNNING


@dataclass(frozen=True)
class Comparison:
    """A model over browsers and backends as far as it was measured.

    Attributes:
        said: what it shows, in sentences.
        cells: a browser, backend and strategy each, with state, median, 95th percentile, memory, errors.
    """

    id: str
    model: str
    state: str
    said: list[str] = field(repr=False)
    cells: list[JsonObject] = field(repr=False)
    document: JsonObject = field(repr=False)

    @property
    def ended(self) -> bool:
        return self.state != RUNNING
