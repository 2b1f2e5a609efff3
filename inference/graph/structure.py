"""What a node takes from around it, bodies of control flow included; which nodes compute the same always."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx

# Operators whose result is not fixed by their inputs.
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
     "Bernoulli", "Dropout"}
)  # fmt: skip


def used(node: onnx.NodeProto) -> set[str]:
    """Names a node takes from around it, those captured by its bodies included."""
    names = {name for name in node.input if name}
    for graph in bodies(node):
        names |= _captured(graph)
    return names


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: branches of an If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(graph: onnx.GraphProto) -> set[str]:
    inner = {item.name for item in graph.input} | {item.name for item in graph.initializer}
    inner |= {item.values.name for item in graph.sparse_initializer}
    captured: set[str] = set()
    for node in graph.node:
        captured |= used(node) - inner
        inner.update(node.output)
    return captured | ({item.name for item in graph.output} - inner)


def in_order(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """Indices of the nodes, each after those it depends on; what is in order already stays as it is.

    Nodes on a cycle are left where they were: onnxruntime refuses such a graph with its own words.
    """
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [sorted({producer[n] for n in used(node) if n in producer}) for node in nodes]
    done: set[int] = set()
    ordered: list[int] = []
    for start in range(len(nodes)):
        if start in done:
            continue
        stack, opened = [(start, iter(needs[start]))], {start}
        while stack:
            at, waiting = stack[-1]
            missing = next((i for i in waiting if i not in done and i not in opened), None)
            if missing is not None:
                stack.append((missing, iter(needs[missing])))
                opened.add(missing)
                continue
            stack.pop()
            done.add(at)
            ordered.append(at)
    return ordered


def fixed_nodes(
    nodes: Sequence[onnx.NodeProto], uses: Sequence[Sequence[str]], weights: frozenset[str]
) -> frozenset[int]:
    """Nodes whose outputs depend on weights and constants alone, such as a transposed weight.

    Control flow, random numbers and operators of foreign domains do not count: those are not copied.
    """
    known = set(weights)
    found: set[int] = set()
    for index, node in enumerate(nodes):
        plain = node.domain in ("", "ai.onnx") and node.op_type not in RANDOM
        if plain and not any(bodies(node)) and known.issuperset(uses[index]):
            found.add(index)
            known.update(name for name in node.output if name)
    return frozenset(found)


def with_ancestors(
    indices: set[int], uses: Sequence[Sequence[str]], producer: Mapping[str, int]
) -> set[int]:
    """The nodes and everything they are computed from."""
    found, stack = set(indices), list(indices)
    while stack:
        for name in uses[stack.pop()]:
            index = producer.get(name)
            if index is not None and index not in found:
                found.add(index)
                stack.append(index)
    return found
