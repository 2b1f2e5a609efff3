"""Read a model: checked, summed up, written anew as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inference.documents import JsonObject
from inference.graph.costs import model_work
from inference.graph.files import serialise
from inference.graph.forms import traits as forms_of
from inference.graph.model import load
from inference.graph.rewriting.lowering import lower
from inference.graph.rewriting.overriding import make_inputs
from inference.graph.summary import read_packed
from inference.sandbox.frames import Answer
from inference.sandbox.jobs.decoding import told

_OVERRIDDEN: Final = "overridden.onnx"


def read(
    path: str,
    folder: str,
    *,
    lowered: bool = False,
    called: dict[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Answer:
    """What the file says (`ModelSummary.to_json`), its work, and the model as one file in `folder`.

    `lowered`: for an older runtime, as far as that changes nothing; `done` says what was. `called`: usual
    names of a decoder's inputs that have their own. `overrides`: weights that become inputs. `decoder` and
    `no_decoder`: as `decoding.told`.

    Raises:
        InvalidModel: it is no model that onnxruntime can run.
    """
    done = ""
    if lowered:
        model = load(Path(path))
        done = lower(model)
        Path(path).write_bytes(serialise(model))
    if overrides:
        model = load(Path(path))
        make_inputs(model, overrides)
        path = str(Path(folder) / _OVERRIDDEN)
        Path(path).write_bytes(serialise(model))
    summary, model, raw = read_packed(Path(path))
    packed = Path(folder) / summary.sha256
    packed.write_bytes(raw)
    answer = {"summary": summary.to_json(), "work": model_work(model), "done": done}
    return Answer(answer | told(model, called or {}))


def work(path: str) -> Answer:
    """The estimated work of a model that was read before."""
    return Answer(model_work(load(Path(path))))


def traits(path: str) -> Answer:
    """What the graph tells about backends and known answers."""
    return Answer(traits_of(Path(path)))


def traits_of(path: Path) -> JsonObject:
    found = forms_of(load(path))
    return {
        "forms": sorted(found.forms),
        "index_limits": dict(found.index_limits),
        "random": list(found.random),
        "halves": found.halves,
        "narrows": found.narrows,
    }
