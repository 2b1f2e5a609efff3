"""Register a model made of several ONNX files: all of its manifest, or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.db import IntegrityError

from inference import sandbox
from inference.catalog import reading, registry
from inference.catalog.tokenizer import Tokenizer
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.graph.batching.batch_axis import refused
from inference.graph.ensemble.declared import Entry, InvalidManifest
from inference.graph.ensemble.manifest import read_manifest
from inference.graph.ensemble.parts import Wiring
from inference.graph.ensemble.wiring import wire
from inference.graph.ensemble.work_type import work_type
from inference.graph.spec import TensorSpec
from inference.models import ModelType, OnnxModel
from inference.store import transactions
from inference.store.files import files_dir, keep, made_files, path_of
from inference.store.ports import specs


@dataclasses.dataclass(frozen=True)
class Part:
    """A file that a manifest names, as it was read.

    `path`: the model as one file, which is to be kept; None when it is registered already.
    """

    path: Path | None
    sha256: str
    file_bytes: int
    weight_bytes: int
    node_count: int
    work: float
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    summary: JsonView


def add_components(
    manifest: bytes,
    folder: Path,
    *,
    name: str,
    model_type: str = ModelType.OTHER,
    tokenizer: Path | None = None,
    called: str = "manifest",
) -> OnnxModel:
    """Register the model that a manifest describes; its files lie in `folder`, or are registered models.

    The same files wired in the same way under the same name again: the existing model.

    Raises:
        InvalidRequest: a bad manifest, wiring, file, name or tokenizer; nothing is kept then.
    """
    registry.check_words(name, model_type)
    with made_files() as made:
        return _added(
            manifest, _Files(folder, made), name=name, model_type=model_type, tokenizer=tokenizer,
            called=called,
        )  # fmt: skip


def _added(
    manifest: bytes,
    found: _Files,
    *,
    name: str,
    model_type: str,
    tokenizer: Path | None,
    called: str,
) -> OnnxModel:
    stored: set[str] = set()
    try:
        entries = read_manifest(manifest)
        parts = {entry.name: found.part(entry) for entry in entries.components}
        wiring = wire(entries, {key: (part.inputs, part.outputs) for key, part in parts.items()})
        sha256 = _fingerprint(wiring, parts)
        existing = OnnxModel.objects.filter(name=name).first()
        if existing is not None:
            return registry.same_or_taken(existing, sha256)
        tokenizer_sha = Tokenizer.store(tokenizer, files_dir()) if tokenizer else ""
        stored.add(tokenizer_sha)
        for digest, path in {part.sha256: part.path for part in parts.values()}.items():
            if path is not None:
                keep(path, digest)
                stored.add(digest)
        return _create(
            wiring,
            parts,
            {"name": name, "model_type": model_type, "sha256": sha256, "tokenizer": tokenizer_sha},
        )
    except IntegrityError:  # somebody else registered the name meanwhile
        registry.discard(stored)
        return registry.same_or_taken(OnnxModel.objects.get(name=name), sha256)
    except (InvalidManifest, OSError, ValueError) as error:
        registry.discard(stored)
        raise InvalidRequest(f"{called}: {error}") from error
    except BaseException:
        registry.discard(stored)
        raise


class _Files:
    """Finds what a manifest's `model` means; each file is read once."""

    def __init__(self, folder: Path, made: Path) -> None:
        """`made`: where the files that are read are written as one each."""
        self._folder, self._made = folder, made
        self._read: dict[str, Part] = {}

    def part(self, entry: Entry) -> Part:
        """A file of that name beside the manifest, with or without .onnx, else a registered model.

        Raises:
            InvalidManifest: there is neither.
            ValueError: the file is no model.
        """
        if entry.model not in self._read:
            self._read[entry.model] = self._find(entry)
        return self._read[entry.model]

    def _find(self, entry: Entry) -> Part:
        where = f"component {entry.name!r}"
        for name in (entry.model, f"{entry.model}.onnx"):
            path = self._folder / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise InvalidManifest(
                    f"{where}: {entry.model!r} does not lie beside the manifest; put the file there and "
                    "give its name"
                )
            if path.is_file():
                try:
                    return _of_file(path, self._made)
                except ValueError as error:
                    raise ValueError(f"{where}: {path.name}: {error}") from error
        row = OnnxModel.objects.filter(name=entry.model).first()
        if row is None:
            files = ", ".join(sorted(p.name for p in self._folder.glob("*.onnx"))) or "none"
            known = ", ".join(OnnxModel.objects.values_list("name", flat=True)) or "none"
            raise InvalidManifest(
                f"{where}: {entry.model!r} is neither a file beside the manifest (there: {files}) nor "
                f"a registered model (registered: {known})"
            )
        if row.components:
            raise InvalidManifest(
                f"{where}: model {row.name} is itself made of components; name its files instead"
            )
        return _of_row(row)


def _of_file(path: Path, made: Path) -> Part:
    read = reading.read(path, made)
    return Part(
        read.path,
        read.sha256,
        read.path.stat().st_size,
        read.summary["weight_bytes"],
        read.summary["node_count"],
        read.work,
        specs(read.summary["inputs"]),
        specs(read.summary["outputs"]),
        read.summary,
    )


def _of_row(row: OnnxModel) -> Part:
    path = path_of(row.sha256)
    return Part(
        None,
        row.sha256,
        row.file_bytes,
        row.weight_bytes,
        row.node_count,
        float(sandbox.ask("work", reads=[path], path=str(path)).document),
        specs(row.inputs),
        specs(row.outputs),
        row.summary,
    )


def _fingerprint(wiring: Wiring, parts: Mapping[str, Part]) -> str:
    """One number for files and wiring, however the manifest was spelt."""
    canonical = {
        "components": [
            {
                "name": item.name,
                "sha256": parts[item.name].sha256,
                "inputs": {wire.spec.name: wire.tensor for wire in item.inputs},
                "outputs": {wire.spec.name: wire.tensor for wire in item.outputs},
            }
            for item in wiring.components
        ],
        "inputs": [spec.name for spec in wiring.inputs],
        "outputs": [[wire.spec.name, wire.tensor] for wire in wiring.outputs],
    }
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


@transactions.repeated
def _create(wiring: Wiring, parts: Mapping[str, Part], words: Mapping[str, str]) -> OnnxModel:
    """The row.

    Raises:
        InvalidRequest: a file of it was deleted meanwhile.
    """
    files = {part.sha256: part for part in parts.values()}
    with transactions.alone(registry.FILES):
        registry.check_kept({*files, words["tokenizer"]} - {""})
        return OnnxModel.objects.create(
            **words,
            file_bytes=sum(part.file_bytes for part in files.values()),
            weight_bytes=sum(part.weight_bytes for part in files.values()),
            node_count=sum(part.node_count for part in parts.values()),
            max_shards=len(wiring.components),
            batch_axis=refused("it is made of components").to_json(),
            inputs=[spec.to_json() for spec in wiring.inputs],
            outputs=[wire.to_json() for wire in wiring.outputs],
            summary={"components": {name: part.summary for name, part in parts.items()}},
            components=_described(wiring, parts),
        )


def _described(wiring: Wiring, parts: Mapping[str, Part]) -> list[JsonObject]:
    total = sum(part.work for part in parts.values())
    return [
        {
            "name": item.name,
            "model": item.model,
            "type": item.type or work_type(item),
            "sha256": parts[item.name].sha256,
            "file_bytes": parts[item.name].file_bytes,
            "weight_bytes": parts[item.name].weight_bytes,
            "node_count": parts[item.name].node_count,
            "cost": parts[item.name].work / total if total else 1 / len(parts),
            "inputs": [wire.to_json() for wire in item.inputs],
            "outputs": [wire.to_json() for wire in item.outputs],
            "depends_on": list(item.depends_on),
        }
        for item in wiring.components
    ]
