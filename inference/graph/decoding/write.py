"""Write a decoder's stages as ONNX files: each its own weights and states, and what all of them compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference.core.generation.stages import Stage, StageInput, Use
from inference.graph.cutting.shares import carried
from inference.graph.decoding.cut import DecoderCutter, Stretch
from inference.graph.decoding.states import NoDecoder
from inference.graph.files import serialise, store
from inference.graph.indexed import model_like
from inference.graph.spec import TensorSpec
from inference.graph.standins import attributes
from inference.graph.steps import ShardFile
from inference.graph.structure import in_order


@dataclasses.dataclass(frozen=True)
class WrittenStage:
    """A stage on disk; `crossing_bytes` of what it takes from the one before, at example sizes."""

    stage: Stage
    file: ShardFile
    crossing_bytes: int


def write_stages(cutter: DecoderCutter, stages: int, folder: Path) -> list[WrittenStage]:
    """Cut a prepared decoder into so many stages and write them; same decoder, same bytes.

    Raises:
        TooManyShards, NoDecoder: as `DecoderCutter.stretches`.
        InvalidModel: more than protobuf can hold in one file (2 GB).
    """
    written: list[WrittenStage] = []
    seen: set[str] = set()
    for index, stretch in enumerate(cutter.stretches(stages)):
        made = _Writing(cutter, stretch, last=index == stages - 1)
        sizes: dict[str, int] = {}
        for node in stretch.nodes:
            sizes |= carried(cutter.graph, node)
        sizes |= cutter.graph.weight_bytes(made.weights, [])
        file = made.file(index, folder, sizes, seen)
        seen.update(sizes)
        crossing = sum(map(cutter.graph.bytes_of, stretch.taken))
        written.append(WrittenStage(made.stage(), file, crossing))
    return written


class _Writing:
    """One stage: which nodes it needs besides its own, and in whose place others stand."""

    def __init__(self, cutter: DecoderCutter, stretch: Stretch, *, last: bool) -> None:
        self.graph, self.known, self.stretch = cutter.graph, cutter.known, stretch
        self.whole = cutter.found.whole
        self.logits = self.whole.logits if last else ""
        self.pasts = {state.past: state for state in stretch.states}
        self.own = {name for i in stretch.nodes for name in self.graph.nodes[i].output if name}
        self.nodes: list[onnx.NodeProto] = [self.graph.nodes[i] for i in stretch.nodes]
        self.weights: set[str] = set()
        self.inputs: set[str] = set()
        self.constants: dict[str, onnx.TensorProto] = {}
        self._resolve([*(n for i in stretch.nodes for n in self.graph.uses[i]), *self.given])

    @property
    def given(self) -> list[str]:
        presents = [state.present for state in self.stretch.states]
        return [*self.stretch.given, *([self.logits] if self.logits else []), *presents]

    def _resolve(self, names: Iterable[str]) -> None:
        """Bring in what is neither the stage's own nor there: weights, inputs, known nodes."""
        graph = self.graph
        stack, done = list(names), set[str]()
        while stack:
            name = stack.pop()
            if name in done or name in self.own or name in self.stretch.taken:
                continue
            done.add(name)
            if name in graph.weights:
                self.weights.add(name)
            elif name in graph.inputs:
                self._take(name)
            else:
                index = graph.producer[name]
                if index not in graph.fixed and index not in self.known.nodes:
                    raise NoDecoder(f"the tensor {name!r} of an earlier stage is needed later")
                node = graph.nodes[index]
                done.update(node.output)
                stack += self._bring(node, list(graph.uses[index]))

    def _take(self, name: str) -> None:
        if name in self.known.states and name not in self.pasts:
            raise NoDecoder(f"the state {name!r} of another stage is needed")
        self.inputs.add(name)

    def _bring(self, node: onnx.NodeProto, uses: list[str]) -> list[str]:
        """Add a known node, or what gives its size here; returns the names that this needs."""
        source = node.input[0] if node.op_type == "Shape" else ""
        here = source in self.own or source in self.stretch.taken or source in self.pasts
        first = not self.stretch.taken and source == self.known.tokens
        if not source or here or first or not self.known.measurable(source):
            self.nodes.append(node)
            return uses
        return self._measure(node, source)

    def _measure(self, node: onnx.NodeProto, source: str) -> list[str]:
        if source in self.known.states:
            like = self.known.spec(source).shape
            found = [name for name in self.pasts if self.known.spec(name).shape == like]
            if not found:
                raise NoDecoder(
                    f"the size of the state {source!r} is needed where no state has its shape"
                )
            copy = onnx.NodeProto.FromString(node.SerializeToString())
            copy.input[0] = found[0]
            self.nodes.append(copy)
            return [found[0]]
        width = self.known.width(source)
        rows = self.known.positions() or self._row_source()
        out = node.output[0]
        sizes, two = f"{out}_rows", f"{out}_two"
        zero, both = self._ints(0), self._ints(2)
        self.nodes += [
            helper.make_node("Shape", [rows], [sizes], name=sizes),
            helper.make_node("Slice", [sizes, zero, both], [two], name=two),
        ]
        full = two
        if width is not None:
            full = f"{out}_full"
            self.nodes.append(
                helper.make_node("Concat", [two, self._ints(width)], [full], name=full, axis=0)
            )
        given = attributes(node)
        start, end = self._ints(given.get("start", 0)), self._ints(given.get("end", 2**63 - 1))
        self.nodes.append(helper.make_node("Slice", [full, start, end], [out], name=out))
        return [rows]

    def _row_source(self) -> str:
        """A hidden tensor has a row per token, where it has the usual three dimensions."""
        for name in self.stretch.taken:
            typed = self.graph.types.get(name)
            if typed and typed.shape is not None and len(typed.shape) == 3:
                return name
        raise NoDecoder("no input of a later stage tells how many tokens there are")

    def _ints(self, value: int) -> str:
        name = f"webpool_size_{value}"
        array = np.array([value], np.int64)
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    # --- the file --------------------------------------------------------------------------------

    def stage(self) -> Stage:
        others = [item for item in self.whole.inputs if item.name in self.inputs]
        hidden = []
        for name in self.stretch.taken:
            spec = self.graph.spec(name)
            hidden.append(StageInput(name, Use.HIDDEN, spec.dtype, len(spec.shape)))
        return Stage((*others, *hidden), self.stretch.states, self.stretch.given, self.logits)

    def _input_specs(self) -> tuple[TensorSpec, ...]:
        taken = self.inputs | set(self.pasts)
        own = [spec for name, spec in self.graph.inputs.items() if name in taken]
        return (*own, *map(self.graph.spec, self.stretch.taken))

    def _output_specs(self) -> tuple[TensorSpec, ...]:
        outputs = self.graph.outputs
        return tuple(outputs[n] if n in outputs else self.graph.spec(n) for n in self.given)

    def file(self, index: int, folder: Path, sizes: dict[str, int], seen: set[str]) -> ShardFile:
        graph = self.graph
        order = in_order(self.nodes)
        inputs, outputs = self._input_specs(), self._output_specs()
        dense = [graph.dense[name] for name in graph.dense if name in self.weights]
        made = helper.make_graph(
            [self.nodes[i] for i in order],
            f"{graph.model.graph.name or 'graph'}_stage{index}",
            [spec.value_info() for spec in inputs],
            [spec.value_info() for spec in outputs],
            [*dense, *self.constants.values()],
            sparse_initializer=[graph.sparse[n] for n in graph.sparse if n in self.weights],
        )
        raw = serialise(model_like(graph.model, made))
        sha256, path = store(raw, folder)
        return ShardFile(
            index=index,
            sha256=sha256,
            path=path,
            bytes=len(raw),
            inputs=inputs,
            outputs=outputs,
            depends_on=(index - 1,) if index else (),
            cost=self.stretch.cost,
            weight_bytes=sum(sizes.values()),
            copied_bytes=sum(size for name, size in sizes.items() if name in seen),
            node_count=len(self.nodes),
        )
