"""Large bodies of requests and answers: read and written by functions of the wire, named by who asks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from inference.documents import Array
from inference.errors import WebpoolError
from inference.sandbox.frames import Answer


class Bodies:
    """Calls one function after another; the answer's document is {"said"}, or {"refused", "kind"}."""

    def __call__(
        self, function: str, words: Mapping[str, object], arrays: Mapping[str, Array] | None = None
    ) -> Answer:
        """`function`: as module:name; it takes the arrays and the words, and gives an `Answer`."""
        module, _, name = function.partition(":")
        try:
            answer: Answer = getattr(importlib.import_module(module), name)(arrays or {}, **words)
        except WebpoolError as error:
            return Answer({"refused": str(error), "kind": type(error).__name__})
        return Answer({"said": answer.document}, answer.arrays)


def declared(
    reader: str, bounds: Mapping[str, int], arrays: Mapping[str, Array] | None = None
) -> Answer:
    """What a model's author says of it, read by a module as `inference.conversion.declared` is.

    Raises:
        ValueError: it is not of that form.
    """
    try:
        return Answer(importlib.import_module(reader).read(arrays or {}, bounds))
    except WebpoolError as error:
        raise ValueError(str(error)) from error
