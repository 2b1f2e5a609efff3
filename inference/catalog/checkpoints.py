"""Register a language model as it is published: read and converted in the sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from inference import sandbox
from inference.catalog import registry
from inference.catalog.uploads import remove_model
from inference.checkpoints.described import Described
from inference.checkpoints.reading import Kind, kind_of
from inference.errors import InvalidRequest
from inference.models import ModelType, OnnxModel
from inference.store.files import made_files
from webpool_site.telling.arguments import name_of


def add_checkpoint(
    path: Path,
    kind: Kind,
    *,
    name: str,
    model_type: str = ModelType.TEXT,
    tokenizer: Path | None = None,
    floats: bool = False,
) -> OnnxModel:
    """Register a GGUF file or a model's folder; nothing is kept when it is refused.

    `tokenizer`: instead of its own. `floats`: hold weights as float32, also where they come in fewer bits.

    Raises:
        InvalidRequest: it cannot be read (truncated, another architecture, weights that cannot be held), or
            is no decoder with a cache; or as `registry.add_model`.
    """
    registry.check_words(name, model_type)
    files = list(_files(path))
    with made_files() as folder:
        try:
            said = sandbox.ask(
                "convert",
                reads=[path, path.resolve(), *(file.resolve() for file in files)],
                writes=folder,
                limits=sandbox.limits_for(files),
                path=str(path.absolute()),
                kind=kind.value,
                folder=str(folder),
                floats=floats,
                tokenizer=tokenizer is None,
            ).document
        except ValueError as error:
            raise InvalidRequest(f"{name_of(path)}: {error}") from error
        own = Path(said["tokenizer"]) if said["tokenizer"] else None
        words = Described.from_json(said["described"])
        with contextlib.ExitStack() as undone:
            if said["encoder"]:
                encoder = _within(Path(said["encoder"]), path, folder)
                words = dataclasses.replace(
                    words, encoder=_add_encoder(encoder, f"{name}-encoder", model_type, undone)
                )
            model = registry.add_model(
                _within(Path(said["onnx"]), path, folder),
                name=name,
                model_type=model_type,
                tokenizer=tokenizer or (own and _within(own, path, folder)),
                described=words,
                drawn=kind.drawn,
            )
            undone.pop_all()
            return model


def _add_encoder(path: Path, name: str, model_type: str, undone: contextlib.ExitStack) -> str:
    """Register it; `undone` takes it away again, unless it was there before."""
    was_there = OnnxModel.objects.filter(name=name).exists()
    model = registry.add_model(path, name=name, model_type=model_type)
    if not was_there:
        undone.callback(remove_model, model)
    return model.name


def kind_at(path: Path) -> Kind | None:
    """What kind of published language model is there; None: none, perhaps an ONNX file.

    Raises:
        InvalidRequest: a folder in which nothing is known.
    """
    try:
        return kind_of(path)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{name_of(path)}: {error}") from error


def described_beside(path: Path) -> Described | None:
    """What a config.json beside an ONNX file tells of it; None: there is none, or it cannot be read.

    It is a help, not a claim: the graph may be no decoder.
    """
    folders = [path.parent, *([path.parent.parent] if path.parent.name == "onnx" else [])]
    if not any((folder / "config.json").is_file() for folder in folders):
        return None
    try:
        document = sandbox.ask("beside", reads=folders, path=str(path.absolute())).document
    except sandbox.Refused:
        return None
    return dataclasses.replace(Described.from_json(document), claimed=False)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for folder in (path, path / "onnx"):
            if folder.is_dir():
                yield from (file for file in folder.iterdir() if file.is_file())
    else:
        yield path


def _within(found: Path, path: Path, folder: Path) -> Path:
    """What the sandbox names lies in what was given to it, or in what it was to write.

    Raises:
        InvalidRequest: it does not.
    """
    places = [path.absolute(), folder.absolute()]
    if not any(found.is_relative_to(place) for place in places) or ".." in found.parts:
        raise InvalidRequest(f"{name_of(path)}: expected files within it, got {found}")
    return found
