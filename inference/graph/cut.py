"""Cut any ONNX graph into layer shards, from its own structure: nothing is read from names.

1. What depends on weights and constants alone (a transposed or dequantised weight) is no activation: it
   is computed in every shard that uses it. Nodes that reach no output go.
2. The others are put in a topological order: the file's own, or depth first from the outputs, whichever
   lets fewer bytes cross. A Shape follows its tensor at once, so that the shape crosses, not the tensor.
3. A cut lies between two nodes. What was computed before it and is used after it crosses: by name, so
   that a later shard takes it from wherever it was computed (a skip is carried, not recomputed). A cut is
   legal when all that crosses are tensors of known type, and both sides compute something.
   An element-wise node stays with what it follows: the cut behind it lets no more bytes cross, and the
   runtime fuses the two, with other roundings than one by one.
4. Of all legal cuts those are taken that balance the shards' cost and let few bytes cross.
5. Initialisers go with the shards that use them, shared ones are copied. Control flow stays whole: what
   its bodies capture counts as used by the node itself.

An output of the model that is one of its inputs is given by no shard: whoever has the inputs has it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from inference.graph.choose import Cuts, choose
from inference.graph.costs import (
    ASSUMED_FIRST,
    ASSUMED_OTHER,
    CONTROL,
    FOLLOWERS,
    HEAVY,
    MOVERS,
    assumed,
    item_bytes,
    work,
)
from inference.graph.model import constant_bytes, load, ports, serialise, store, tensor_bytes
from inference.graph.order import Lifetimes, depth_first, lifetimes, shapes_first
from inference.graph.repeats import repetitions
from inference.graph.spec import TensorSpec
from inference.graph.structure import fixed_nodes, used, with_ancestors
from inference.graph.types import Typed, example_shapes, infer_types

# How crossing bytes weigh against balance. Carrying a byte from page to page takes about as long as 200
# floating-point operations there; each tensor costs as much as 2 KB on top of its bytes. Where a model
# computes next to nothing, a cut's bytes are compared with the other cuts' instead.
_OPERATIONS_PER_BYTE = 200.0
_BYTES_PER_TENSOR = 2048
_TYPICAL_CUTS = 4.0
_UNRANKED_ELEMENTS = 2**16  # assumed for a tensor of unknown rank
_UNCUTTABLE = 2**40  # bytes that a tensor which must not cross counts for when orders are compared
_WORK_SHARE = 0.75  # of a node's cost; the rest are its weights, which fill a browser's memory
_SHOWN_TENSORS = 32
_IR_VERSION = 4  # since then weights need not be listed as inputs


class TooManyShards(ValueError):
    """The graph allows fewer shards; `maximum` says how many."""

    def __init__(self, asked: int, maximum: int) -> None:
        self.asked, self.maximum = asked, maximum
        super().__init__(
            f"{asked} layer shards were asked for; its graph allows at least 1 and at most {maximum}"
        )


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard of a plan: which nodes, and what goes in and out.

    Attributes:
        nodes: indices into the model's graph, in the order they are written.
        crossing: inputs that earlier shards computed.
        crossing_bytes: theirs, at example sizes.
        cost: share of the whole model's estimated work and weights, 0 to 1.
        copied_bytes: of weights and constants that an earlier shard holds too.
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


def plan_layers(path: Path, shards: int) -> list[ShardPlan]:
    """The plan for a model file; same file and number, same plan.

    Raises:
        InvalidModel: the file cannot be read.
        TooManyShards: names the maximum.
    """
    return Cutter(load(path)).plan(shards)


def write_shards(path: Path, plan: Sequence[ShardPlan], folder: Path) -> list[ShardFile]:
    """Write every shard of a plan of that model as an immutable file; same plan, same bytes."""
    cutter = Cutter(load(path))
    return [cutter.write(shard, folder) for shard in plan]


class Cutter:
    """A graph, indexed for cutting."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes = list(graph.node)
        self.dense = {item.name: item for item in graph.initializer}
        self.sparse = {item.values.name: item for item in graph.sparse_initializer}
        self.weights = frozenset(self.dense) | frozenset(self.sparse)
        listed = {item.name for item in graph.input} & self.weights
        self.overridable = listed if model.ir_version >= _IR_VERSION else set()
        self.graph_outputs = [item.name for item in graph.output]
        self.uses = [tuple(sorted(used(node))) for node in self.nodes]
        self.producer = {
            name: index for index, node in enumerate(self.nodes) for name in node.output if name
        }
        self.live = self._live()
        self.fixed = self.live & fixed_nodes(self.nodes, self.uses, self.weights - self.overridable)

    def _live(self) -> set[int]:
        """Nodes that some output of the model depends on."""
        ends = {self.producer[name] for name in self.graph_outputs if name in self.producer}
        return with_ancestors(ends, self.uses, self.producer)

    # --- order -----------------------------------------------------------------------------------

    @cached_property
    def order(self) -> list[int]:
        """The live nodes that are not fixed, in the topological order that is cut."""
        moving = sorted(self.live - self.fixed)
        deep = depth_first(self.nodes, self.uses, self.producer, self.graph_outputs, self.fixed)
        orders = [shapes_first(order, self.nodes, self.producer) for order in (moving, deep)]
        totals = [self._carried(order) for order in orders]
        return orders[totals.index(min(totals))]

    def _carried(self, order: Sequence[int]) -> int:
        """Bytes that cross, summed over all boundaries of an order."""
        alive = lifetimes(order, self.uses, self.producer)
        spans = (alive.last - alive.first + 1).tolist()
        return sum(
            span * (self._bytes(name) if name in self.types else _UNCUTTABLE)
            for name, span in zip(alive.names, spans, strict=True)
        )

    @cached_property
    def _alive(self) -> Lifetimes:
        return lifetimes(self.order, self.uses, self.producer)

    def _totals(self, values: Sequence[int]) -> list[int]:
        """For each boundary 0 … n the sum of what crosses it; a value for each tensor."""
        totals: list[int] = self._alive.totals(values, len(self.order) + 1).tolist()
        return totals

    @cached_property
    def _crossing_counts(self) -> list[int]:
        return self._totals([1] * len(self._alive.names))

    @cached_property
    def _crossing_unknown(self) -> list[int]:
        return self._totals([name not in self.types for name in self._alive.names])

    @cached_property
    def _crossing_bytes(self) -> list[int]:
        return self._totals([self._bytes(name) for name in self._alive.names])

    @cached_property
    def _last_use(self) -> dict[str, int]:
        """Position of the last ordered node that takes a tensor."""
        return {name: at for at, index in enumerate(self.order) for name in self.uses[index]}

    # --- types and costs -------------------------------------------------------------------------

    @cached_property
    def types(self) -> dict[str, Typed]:
        """Tensors that may cross: those of known type."""
        return infer_types(
            self.model, [name for i in self.live for name in self.nodes[i].output if name]
        )

    @cached_property
    def _inputs(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in ports(self.model)[0]}

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Example shapes of everything that has a known one."""
        shapes = {name: assumed(spec.shape) for name, spec in self._inputs.items()}
        shapes |= {
            name: assumed(typed.shape)
            for name, typed in self.types.items()
            if typed.shape is not None
        }
        shapes |= example_shapes(self.model, first=ASSUMED_FIRST, other=ASSUMED_OTHER)
        return shapes | {name: tuple(tensor.dims) for name, tensor in self.dense.items()}

    def _bytes(self, name: str) -> int:
        typed = self.types.get(name)
        if typed is None:
            return 0
        shape = self._shapes.get(name, (_UNRANKED_ELEMENTS,))
        return math.prod(shape) * item_bytes(typed.dtype)

    def _weight_bytes(self, names: Sequence[str], nodes: Sequence[int]) -> dict[str, int]:
        """Bytes of weights, and of constants that nodes carry themselves, by who carries them."""
        found = {
            name: tensor_bytes(self.dense[name])
            if name in self.dense
            else len(self.sparse[name].SerializeToString())
            for name in names
        }
        own = {f"node {i}": constant_bytes(self.nodes[i]) for i in nodes}
        return found | {key: size for key, size in own.items() if size}

    def _fixed_for(self, index: int) -> set[int]:
        """The fixed nodes that a node's inputs come from."""
        direct = {self.producer[n] for n in self.uses[index] if n in self.producer} & self.fixed
        return with_ancestors(direct, self.uses, self.producer)

    @cached_property
    def _operations(self) -> np.ndarray[Any, Any]:
        return np.array([work(self.nodes[i], self._shapes) for i in self.order], dtype=np.float64)

    @cached_property
    def costs(self) -> np.ndarray[Any, Any]:
        """Each ordered node's share of the model: its arithmetic for the most part, and its weights."""
        weights = np.zeros(len(self.order))
        seen: set[str] = set()
        for position, index in enumerate(self.order):
            nodes = [index, *sorted(self._fixed_for(index))]
            names = sorted({n for i in nodes for n in self.uses[i] if n in self.weights})
            sizes = self._weight_bytes(names, nodes)
            weights[position] = sum(size for key, size in sizes.items() if key not in seen)
            seen.update(sizes)
        return _WORK_SHARE * _share(self._operations) + (1 - _WORK_SHARE) * _share(weights)

    # --- cuts ------------------------------------------------------------------------------------

    @cached_property
    def _computing(self) -> tuple[list[bool], bool]:
        """Which ordered nodes are worth a shard, and whether those are the ones with weights.

        In a graph with fewer than two nodes that compute with weights, all that compute are worth one.
        """
        kinds = [self.nodes[i] for i in self.order]
        computing = [node.op_type not in MOVERS for node in kinds]
        weighty = [
            node.op_type in HEAVY | CONTROL or (computes and self._has_weights(i))
            for node, computes, i in zip(kinds, computing, self.order, strict=True)
        ]
        return (weighty, True) if sum(weighty) > 1 else (computing, False)

    @cached_property
    def _worth(self) -> np.ndarray[Any, Any]:
        """How many nodes that are worth a shard lie before each boundary 0 … n."""
        return np.concatenate([[0], np.cumsum(self._computing[0], dtype=np.int64)])

    @cached_property
    def _joined(self) -> frozenset[int]:
        """Boundaries between an element-wise node and the last node it follows, if only it does."""
        if not self._computing[1]:
            return frozenset()
        at = {index: position for position, index in enumerate(self.order)}
        readers: dict[str, int] = defaultdict(int)
        for index in self.order:
            for name in self.uses[index]:
                readers[name] += 1
        joined: set[int] = set()
        for position, index in enumerate(self.order):
            if self.nodes[index].op_type not in FOLLOWERS:
                continue
            before = [(at[p], n) for n in self.uses[index] if (p := self.producer.get(n)) in at]
            if before:
                last, name = max(before)
                grows = sum(map(self._bytes, self.nodes[index].output)) > self._bytes(name) > 0
                if readers[name] == 1 and name not in self.graph_outputs and not grows:
                    joined.update(range(last + 1, position + 1))
        return frozenset(joined)

    def _has_weights(self, index: int) -> bool:
        return any(
            math.prod(self._shapes.get(name, (1,))) > 1
            for name in self.uses[index]
            if name in self.weights or self.producer.get(name) in self.fixed
        )

    @cached_property
    def legal(self) -> list[int]:
        """Boundaries (number of ordered nodes before them) at which the graph may be cut.

        Between two nodes that are worth a shard there may be several: the one that fewest bytes cross.
        """
        best: dict[int, int] = {}
        for boundary in range(1, len(self.order)):
            worth = int(self._worth[boundary])
            if not 0 < worth < self._worth[-1] or boundary in self._joined:
                continue
            if self._crossing_unknown[boundary]:
                continue
            other = best.setdefault(worth, boundary)
            if self._weight_of(boundary) < self._weight_of(other):
                best[worth] = boundary
        return [best[worth] for worth in sorted(best)]

    @property
    def max_shards(self) -> int:
        return len(self.legal) + 1

    def crossing_bytes(self, boundary: int) -> int:
        return self._crossing_bytes[boundary]

    def _weight_of(self, boundary: int) -> int:
        tensors = self._crossing_counts[boundary]
        return self._crossing_bytes[boundary] + _BYTES_PER_TENSOR * tensors

    def describe_cuts(self) -> Iterator[dict[str, Any]]:
        """Every legal cut, for people and for the database; of many tensors the first are named."""
        before = np.cumsum(self.costs)
        for boundary in self.legal:
            yield {
                "after_nodes": boundary,
                "cost_before": round(float(before[boundary - 1]), 4),
                "tensors": self._alive.crossing(boundary)[:_SHOWN_TENSORS],
                "tensor_count": self._crossing_counts[boundary],
                "bytes": self.crossing_bytes(boundary),
            }

    @property
    def layers(self) -> int:
        """How often the pattern of heavy operators and their sizes repeats; 1 where nothing does."""
        kinds = [
            (self.nodes[i].op_type, *(self._shapes.get(n) for n in self.nodes[i].input[1:2]))
            for i in self.order
            if self.nodes[i].op_type in HEAVY
        ]
        return repetitions(kinds)

    # --- the plan --------------------------------------------------------------------------------

    def plan(self, shards: int) -> list[ShardPlan]:
        """Shards in order.

        Raises:
            TooManyShards: more than the graph allows, or none.
        """
        if not 1 <= shards <= self.max_shards:
            raise TooManyShards(shards, self.max_shards)
        bounds = [0, *self._choose(shards), len(self.order)]
        seen: set[str] = set()
        makers: dict[str, int] = {}  # tensor → the shard that gives it
        return [
            self._shard(index, start, end, makers, seen)
            for index, (start, end) in enumerate(itertools.pairwise(bounds))
        ]

    def _choose(self, shards: int) -> list[int]:
        """The cuts that minimise imbalance plus crossing bytes.

        A cut weighs its bytes over those that would take as long as a shard's share of the work.
        """
        if shards == 1:
            return []
        legal = self.legal
        weights = np.array([self._weight_of(b) for b in legal], dtype=np.float64)
        affordable = self._operations.sum() / _OPERATIONS_PER_BYTE / shards
        penalty = weights / max(affordable, _TYPICAL_CUTS * float(np.median(weights)), 1.0)
        ends = np.cumsum(self.costs)[np.array(legal) - 1]
        return [legal[i] for i in choose(Cuts(ends, penalty), shards)]

    def _shard(
        self, index: int, start: int, end: int, makers: dict[str, int], seen: set[str]
    ) -> ShardPlan:
        own = self.order[start:end]
        first = index == 0  # gives the outputs that no activation reaches: constants and weights
        fixed: set[int] = set().union(*(self._fixed_for(i) for i in own))
        if first:
            ends = {self.producer[n] for n in self.graph_outputs if n in self.producer}
            fixed |= with_ancestors(ends & self.fixed, self.uses, self.producer)
        nodes = [*sorted(fixed), *own]
        taken = {name for i in nodes for name in self.uses[i]}
        made = {name for i in nodes for name in self.nodes[i].output if name}
        given = self._given(own, end)
        if first:
            constant = [n for n in self.graph_outputs if self._is_constant(n)]
            given += constant
            taken |= {name for name in constant if name in self.weights}
        carried = sorted(name for name in taken - made if name in self.producer)
        initialisers = sorted(taken & self.weights)
        sizes = self._weight_bytes(initialisers, nodes)
        shard = ShardPlan(
            index=index,
            nodes=tuple(nodes),
            inputs=tuple(spec for name, spec in self._inputs.items() if name in taken)
            + tuple(map(self._spec, carried)),
            outputs=tuple(map(self._spec, dict.fromkeys(given))),
            initialisers=tuple(initialisers),
            depends_on=tuple(sorted({makers[name] for name in carried})),
            crossing=tuple(carried),
            crossing_bytes=sum(map(self._bytes, carried)),
            cost=float(self.costs[start:end].sum()) if len(self.order) else 1.0,
            weight_bytes=sum(sizes.values()),
            copied_bytes=sum(size for key, size in sizes.items() if key in seen),
        )
        seen.update(sizes)
        makers.update({spec.name: index for spec in shard.outputs})
        return shard

    def _given(self, own: Sequence[int], end: int) -> list[str]:
        """Tensors that later shards or the caller want from these nodes."""
        return [
            name
            for i in own
            for name in self.nodes[i].output
            if name and (self._last_use.get(name, -1) >= end or name in self.graph_outputs)
        ]

    def _is_constant(self, name: str) -> bool:
        """Whether an output of the model is a weight, or computed from weights alone."""
        return name in self.weights or self.producer.get(name) in self.fixed

    @cached_property
    def _outputs(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in ports(self.model)[1]}

    def _spec(self, name: str) -> TensorSpec:
        """What inference found counts for more than what the file declares of an output."""
        found = self.types.get(name)
        if found is None or (found.shape is None and name in self._outputs):
            return self._outputs[name]
        return TensorSpec(name, found.dtype, found.shape or (), any_rank=found.shape is None)

    # --- files -----------------------------------------------------------------------------------

    def write(self, shard: ShardPlan, folder: Path) -> ShardFile:
        """Write one shard: its nodes, its initialisers, its ports, the model's metadata."""
        source = self.model
        graph = helper.make_graph(
            [self.nodes[i] for i in shard.nodes],
            f"{source.graph.name or 'graph'}_shard{shard.index}",
            [spec.value_info() for spec in shard.inputs],
            [spec.value_info() for spec in shard.outputs],
            [self.dense[name] for name in shard.initialisers if name in self.dense],
            sparse_initializer=[
                self.sparse[name] for name in shard.initialisers if name in self.sparse
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=list(source.opset_import),
            functions=list(source.functions),
            ir_version=max(source.ir_version, _IR_VERSION),
            producer_name=source.producer_name or "webpool",
            producer_version=source.producer_version,
        )
        model.metadata_props.extend(source.metadata_props)
        raw = serialise(model)
        sha256, path = store(raw, folder)
        return ShardFile(
            index=shard.index,
            sha256=sha256,
            path=path,
            bytes=len(raw),
            inputs=shard.inputs,
            outputs=shard.outputs,
            depends_on=shard.depends_on,
            cost=shard.cost,
            weight_bytes=shard.weight_bytes,
            copied_bytes=shard.copied_bytes,
            node_count=len(shard.nodes),
        )


def _share(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    total = values.sum()
    return values / total if total else np.full(len(values), 1 / max(len(values), 1))
