"""onnxruntime on the CPU: what it says of a graph, and what it answers."""

from __future__ import annotations

import onnxruntime

from inference.graph.files import InvalidModel, first_line


def session(raw: bytes | str, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session of onnxruntime, the reference for everything.

    Raises:
        InvalidModel: onnxruntime refuses it, with its reason.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        # Its fallback would print, and try the same provider again.
        return onnxruntime.InferenceSession(
            raw, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises types of its own per status code
        raise InvalidModel(f"onnxruntime refuses it: {first_line(error)}") from error
