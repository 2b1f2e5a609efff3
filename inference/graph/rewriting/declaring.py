"""Sizes that a file declares of what it computes, where they are not those that follow from the graph.

They change nothing that is computed: onnxruntime warns of them and goes by what follows. A runtime that is
built without exceptions, as one of the browsers' is, refuses the file instead.
"""

from __future__ import annotations

import onnx

from inference.graph.types import infer_types


def correct_sizes(model: onnx.ModelProto) -> list[str]:
    """Write down in place what follows; of intermediate tensors leave it out. Says what was done."""
    outputs = [item for item in model.graph.output if item.type.tensor_type.HasField("shape")]
    between = [item for item in model.graph.value_info if item.type.tensor_type.HasField("shape")]
    found = infer_types(model, [item.name for item in (*outputs, *between)])
    wrong = {
        item.name: shape
        for item in (*outputs, *between)
        if item.name in found
        and (shape := found[item.name].shape) is not None
        and _contradicts(item.type.tensor_type.shape, shape)
    }
    for item in between:
        if item.name in wrong:
            model.graph.value_info.remove(item)
    said = []
    for item in outputs:
        if item.name in wrong:
            declared = item.type.tensor_type.shape
            before = [dim.dim_param or dim.dim_value for dim in declared.dim]
            _write(declared, wrong[item.name])
            said.append(f"output {item.name} {before} → {list(wrong[item.name])}")
    dropped = sorted(wrong.keys() - {item.name for item in outputs})
    return said + ([f"sizes of {', '.join(dropped)}"[:200]] if dropped else [])


def _contradicts(declared: onnx.TensorShapeProto, shape: tuple[int | str, ...]) -> bool:
    """Whether both know a size, and not the same."""
    if len(declared.dim) != len(shape):
        return True
    return any(
        isinstance(size, int) and dim.HasField("dim_value") and dim.dim_value != size
        for dim, size in zip(declared.dim, shape, strict=True)
    )


def _write(declared: onnx.TensorShapeProto, shape: tuple[int | str, ...]) -> None:
    del declared.dim[:]
    for size in shape:
        if isinstance(size, int):
            declared.dim.add(dim_value=size)
        else:
            declared.dim.add(dim_param=size)
