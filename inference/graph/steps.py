"""The records of a plan: its steps, how partial results are joined, and what is on disk for each."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

from inference.graph.spec import TensorSpec


class TooManyShards(ValueError):
    """The graph allows fewer shards; `maximum` says how many, `why` what is against more, if known."""

    def __init__(self, asked: int, maximum: int, why: str = "") -> None:
        self.asked, self.maximum = asked, maximum
        super().__init__(
            f"{asked} layer shards were asked for; its graph allows at least 1 and at most {maximum}"
            + (f": {why}" if why else "")
        )


class StepKind(enum.StrEnum):
    """Who carries a step out."""

    COMPUTE = "compute"  # a browser, with a shard file
    JOIN = "join"  # the control worker, with numpy


class Role(enum.StrEnum):
    """What a step is of the model."""

    LAYERS = "layers"  # a stretch of the graph
    ATTENTION = "attention"  # one block's attention part
    FEED_FORWARD = "feed_forward"  # one block's feed-forward part
    WHOLE = "whole"  # of a tensor plan: not split, one browser computes it
    HEADS = "heads"  # of a tensor plan: a part of an attention's heads
    INNER = (
        "inner"  # of a tensor plan: some columns of one matrix and the rows of the next for them
    )
    COLUMNS = "columns"  # of a tensor plan: a part of one matrix's columns
    JOIN = "join"


@dataclasses.dataclass(frozen=True)
class JoinSpec:
    """How partial tensors become one, in the order of `parts`.

    Attributes:
        op: "sum" adds them, "concat" puts them behind one another along `axis`.
        axis: of the concatenation, from 0; None for a sum.
        parts: names of the partial tensors.
        output: the joined tensor.
    """

    op: str
    axis: int | None
    parts: tuple[str, ...]
    output: TensorSpec


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a plan: a shard to compute, or a join of what shards computed.

    Attributes:
        index: place in the plan; a step depends only on earlier ones.
        nodes: indices into the plan's graph, in the order they are written.
        crossing: inputs that earlier steps computed.
        crossing_bytes: theirs, at example sizes.
        cost: share of the whole plan's estimated work and weights, 0 to 1.
        copied_bytes: of weights and constants that an earlier step holds too.
        group: names the split that a step is a part of, or that a join ends; "" for what is not split.
        part: which part of its group, from 0; None for what is no part. Parts with one number are meant
            for one browser: each holds its share of every matrix then.
        join: how parts are joined; None for a compute step.
    """

    index: int
    nodes: tuple[int, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    initialisers: tuple[str, ...]
    depends_on: tuple[int, ...]
    crossing: tuple[str, ...]
    crossing_bytes: int
    cost: float
    weight_bytes: int
    copied_bytes: int
    kind: StepKind = StepKind.COMPUTE
    role: Role = Role.LAYERS
    group: str = ""
    part: int | None = None
    join: JoinSpec | None = None


@dataclasses.dataclass(frozen=True)
class ShardFile:
    """A shard on disk, named by its SHA-256."""

    index: int
    sha256: str
    path: Path
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    depends_on: tuple[int, ...]
    cost: float
    weight_bytes: int
    copied_bytes: int
    node_count: int


@dataclasses.dataclass(frozen=True)
class WrittenStep:
    """A step and its file; a join has none."""

    step: Step
    file: ShardFile | None
