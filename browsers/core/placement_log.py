"""Where onnxruntime placed the nodes of a graph, and which backend may therefore claim the model.

onnxruntime gives every node that a backend lacks to its own CPU provider without a word; only its
verbose log says so. The lines that this module reads, after time stamp and source position:

    Node placements
     All nodes placed on [CPUExecutionProvider]. Number of nodes: 7
     Node(s) placed on [WebGpuExecutionProvider]. Number of nodes: 7
      Gemm (/encoder/MatMul)
    WebNNExecutionProvider::GetCapability, number of partitions supported by WebNN: 1
        number of nodes in the graph: 30 number of nodes supported by WebNN: 30   (one line)

WebNN compiles each partition into one node, so its share is taken from its own line. Copies between
devices (Memcpy…) are inserted by onnxruntime, are no nodes of the model and are not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from browsers.core.errors import UnsupportedOperation

PROVIDERS: Final[Mapping[str, str]] = {
    "wasm": "CPUExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "webnn": "WebNNExecutionProvider",
}
"""Execution provider by backend."""

HEAVY_OPS: Final = frozenset(
    {
        "Attention",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "DecoderMaskedMultiHeadAttention",
        "DeformConv",
        "DynamicQuantizeMatMul",
        "Einsum",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "GRU",
        "Gemm",
        "GroupQueryAttention",
        "LSTM",
        "LinearAttention",
        "MatMul",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MoE",
        "MultiHeadAttention",
        "NhwcConv",
        "NhwcFusedConv",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "PagedAttention",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
        "QMoE",
        "RNN",
        "SparseAttention",
    }
)
"""Operators whose cost decides a model's speed: a backend that leaves one to the CPU did not run
it."""

_CPU: Final = PROVIDERS["wasm"]
_COPIES: Final = frozenset({"MemcpyToHost", "MemcpyFromHost"})
_ALL = re.compile(r"All nodes placed on \[(\w+)\]\. Number of nodes: (\d+)")
_SOME = re.compile(r"Node\(s\) placed on \[(\w+)\]\. Number of nodes: \d+")
_NODE = re.compile(r"\]\s+(\S+) \(.*\)\s*$")
_SUPPORTED = re.compile(
    r"(\w+ExecutionProvider)::GetCapability.*number of nodes supported by \w+: (\d+)"
)


@dataclass(frozen=True)
class Placement:
    """Nodes per execution provider, and per provider how many of each operator where the log lists
    them.

    `nodes` is empty when the log said nothing: then nothing is proven.
    """

    nodes: Mapping[str, int]
    ops: Mapping[str, Mapping[str, int]]

    @property
    def heavy_on_cpu(self) -> Mapping[str, int]:
        """Heavy operators that onnxruntime's CPU provider runs, where operators are listed."""
        listed = self.ops.get(_CPU, {})
        return {op: listed[op] for op in sorted(listed) if op in HEAVY_OPS}


def parse_placement(lines: Iterable[str]) -> Placement:
    """Read the verbose log of one session's creation; unrelated lines are skipped."""
    nodes: dict[str, int] = {}
    ops: dict[str, Counter[str]] = {}
    supported: dict[str, int] = {}
    current: Counter[str] | None = None
    for line in lines:
        if whole := _ALL.search(line):
            nodes[whole[1]] = int(whole[2])
            current = None
        elif part := _SOME.search(line):
            current = ops.setdefault(part[1], Counter())
        elif share := _SUPPORTED.search(line):
            supported[share[1]] = int(share[2])
        elif current is not None and (node := _NODE.search(line)) and node[1] not in _COPIES:
            current[node[1]] += 1
    nodes.update({provider: listed.total() for provider, listed in ops.items()})
    for provider, count in supported.items():
        if nodes.get(provider):
            nodes[provider] = count
    return Placement(nodes, {provider: dict(listed) for provider, listed in ops.items()})


def check_claim(placement: Placement, *, backend: str, strict: bool) -> None:
    """Raise UnsupportedOperation unless `backend` may claim a session with this placement.

    The backend must have got nodes and every heavy operator; `strict` allows no CPU node at all.
    """
    if backend == "wasm":
        return
    provider = PROVIDERS[backend]
    if not placement.nodes:
        raise UnsupportedOperation(
            f"onnxruntime's log did not say where it placed the nodes: {backend} cannot be proven"
        )
    on_cpu = placement.nodes.get(_CPU, 0)
    if not placement.nodes.get(provider):
        raise UnsupportedOperation(
            f"{backend} took none of the model's nodes: all {on_cpu} ran on the CPU"
        )
    if heavy := placement.heavy_on_cpu:
        raise UnsupportedOperation(
            f"{backend} lacks {_count(heavy)}; it would run on the CPU provider"
        )
    if strict and on_cpu:
        raise UnsupportedOperation(
            f"strict: {backend} leaves {on_cpu} nodes to the CPU provider "
            f"({_count(placement.ops.get(_CPU, {}))})"
        )


def _count(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in sorted(ops.items()))
