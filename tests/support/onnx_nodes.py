"""ONNX's own tests of single operators: each a model of one node (or a function's nodes) with its inputs."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime

from inference.graph.forms import traits


@dataclasses.dataclass(frozen=True)
class Node:
    """A model that native onnxruntime runs, inputs for it by name, and onnxruntime's own outputs."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray[Any, Any]]
    outputs: dict[str, np.ndarray[Any, Any]]


def names() -> list[str]:
    """All there are, in one order."""
    return sorted(_cases())


def node(name: str) -> Node | None:
    """None: native onnxruntime does not run it, its ports are no tensors, or it draws random numbers."""
    model, inputs = _cases()[name]
    if traits(model).random:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        given = {item.name: each for item, each in zip(session.get_inputs(), inputs, strict=False)}
        made = session.run(None, given)
    except Exception:  # whatever it says: this is no case for anybody else then
        return None
    arrays = [*given.values(), *made]
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return None
    outputs = {item.name: each for item, each in zip(session.get_outputs(), made, strict=True)}
    return Node(name, model, given, outputs)


_found: dict[str, tuple[onnx.ModelProto, list[Any]]] = {}


def _cases() -> dict[str, tuple[onnx.ModelProto, list[Any]]]:
    if not _found:
        from onnx.backend.test.case.node import collect_testcases

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in collect_testcases(None):
                if case.model is not None and case.data_sets:
                    _found[case.name] = (case.model, list(case.data_sets[0][0]))
    return _found
