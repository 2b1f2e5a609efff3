"""onnxruntime on the CPU: what it says of a graph, and what it answers.

It is loaded with the first question: it starts threads and opens files, and few processes ever ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.graph.files import InvalidModel, first_line

if TYPE_CHECKING:
    import onnxruntime


def session(raw: bytes | str, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session of onnxruntime, the reference for everything.

    Raises:
        InvalidModel: onnxruntime refuses it, with its reason.
        MemoryError: there is too little of it.
    """
    import onnxruntime

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
        if out_of_memory(error):
            raise MemoryError from error
        raise InvalidModel(f"onnxruntime refuses it: {first_line(error)}") from error


def out_of_memory(error: Exception) -> bool:
    """Whether onnxruntime found no memory, of which it has no status code: C++ and its arena say so."""
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or "bad_alloc" in said
        or "Failed to allocate memory for requested buffer" in said
    )
