"""Whether native onnxruntime takes an input for a file: what it refuses, no browser could compute."""

from __future__ import annotations

from inference.documents import Array
from inference.graph.files import first_line
from inference.graph.runtime import out_of_memory, session
from inference.sandbox.frames import Answer


def attempt(path: str, arrays: dict[str, Array] | None = None) -> Answer:
    """Run the file once: {"refused": what onnxruntime says}, or {"refused": ""}.

    Raises:
        InvalidModel: onnxruntime cannot even load the file.
        MemoryError: it needs more than there may be; nothing is known then.
    """
    runtime = session(path)
    try:
        runtime.run(None, dict(arrays or {}))
    except Exception as error:  # onnxruntime raises types of its own per status code
        if out_of_memory(error):
            raise MemoryError from error
        return Answer({"refused": first_line(error)})
    return Answer({"refused": ""})
