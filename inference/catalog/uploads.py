"""Register a model from uploaded files, and remove one with the files that nobody else needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from browsers.core.failures import Category
from inference.catalog import components, registry
from inference.documents import JsonView
from inference.errors import InvalidRequest, WebpoolError
from inference.models import OnnxModel, PlanStep, SessionState
from inference.store import outbox, transactions
from inference.store.scratch import UPLOAD, scratch

_MOST_MANIFEST_BYTES = 2**20
_MOST_NAME_BYTES = 200  # file systems take 255, and some of them are ours


class Conflict(WebpoolError):
    """The request is right, but not in the state that things are in."""

    category = Category.CONFLICT


def register_upload(
    onnx: UploadedFile,
    *,
    name: str,
    model_type: str,
    tokenizer: UploadedFile | None = None,
    external_data: Sequence[UploadedFile] = (),
    overrides: Sequence[str] = (),
) -> OnnxModel:
    """Register an uploaded ONNX file; external data files keep their names and lie beside it.

    Raises:
        InvalidRequest: as `registry.add_model`, or two files of one name.
    """
    with _folder() as folder:
        path = _save(onnx, folder)
        for data in external_data:
            _save(data, folder)
        return registry.add_model(
            path,
            name=name,
            model_type=model_type,
            tokenizer=_tokenizer(tokenizer, folder),
            overrides=overrides,
        )


def register_manifest(
    manifest: UploadedFile,
    *,
    name: str,
    model_type: str,
    tokenizer: UploadedFile | None = None,
    files: Sequence[UploadedFile] = (),
) -> OnnxModel:
    """Register a model of several files; `files` are those and their external data.

    Raises:
        InvalidRequest: as `components.add_components`, two files of one name, or a huge manifest.
    """
    if (manifest.size or 0) > _MOST_MANIFEST_BYTES:
        raise InvalidRequest(
            f"{manifest.name}: expected a manifest of at most {_MOST_MANIFEST_BYTES} bytes, got "
            f"{manifest.size}"
        )
    with _folder() as folder:
        for file in files:
            _save(file, folder)
        return components.add_components(
            manifest.read(),
            folder,
            name=name,
            model_type=model_type,
            tokenizer=_tokenizer(tokenizer, folder),
            called=manifest.name or "manifest",
        )


def register_document(document: JsonView, *, name: str, model_type: str) -> OnnxModel:
    """Register a model that is made of registered ones alone.

    Raises:
        InvalidRequest: as `components.add_components`.
    """
    with _folder() as folder:
        raw = json.dumps(document).encode()
        return components.add_components(raw, folder, name=name, model_type=model_type)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    models = settings.WEBPOOL_HOME / "models"
    with scratch(models, UPLOAD) as folder:
        yield folder


def _tokenizer(file: UploadedFile | None, folder: Path) -> Path | None:
    if file is None:
        return None
    (folder / "tokenizer").mkdir()
    return _save(file, folder / "tokenizer")


def file_name(file: UploadedFile, *, usual: str) -> str:
    """What an uploaded file is called, as a name that this machine can give it.

    Raises:
        InvalidRequest: it is too long, or no text.
    """
    name = Path(file.name or usual).name or usual
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"file name {name!a:.100}: expected text that has a form in UTF-8"
        ) from None
    if size > _MOST_NAME_BYTES or "\0" in name:
        raise InvalidRequest(
            f"file name {name[:40]!r}…: expected at most {_MOST_NAME_BYTES} bytes without NUL, got {size}"
        )
    return name


def _save(file: UploadedFile, folder: Path) -> Path:
    path = folder / file_name(file, usual="model.onnx")
    if path.exists():
        raise InvalidRequest(f"two uploaded files are named {path.name!r}; names must differ")
    with path.open("xb") as target:
        for chunk in file.chunks():
            target.write(chunk)
    return path


def remove_model(model: OnnxModel) -> None:
    """Delete a model, its plans and runs, and the files that no other model or plan names.

    Raises:
        Conflict: runs, texts or batch jobs of it are active.
    """
    registry.discard(_forget(model))


@transactions.repeated
def _forget(model: OnnxModel) -> set[str]:
    """Delete its rows; returns the files that they named."""
    with transactions.together():
        OnnxModel.objects.select_for_update().filter(pk=model.pk).first()  # no run of it comes now
        active = model.runs.filter(state="running").count()
        if active:
            raise Conflict(f"{active} runs of model {model.name} are active; cancel them or wait")
        if texts := model.generations.filter(state=SessionState.RUNNING).count():
            raise Conflict(f"{texts} texts of model {model.name} are written; cancel them or wait")
        if jobs := model.batch_jobs.filter(state="running").count():
            raise Conflict(f"{jobs} batch jobs of model {model.name} run; cancel them or wait")
        used = {model.sha256, model.tokenizer} - {""}
        used |= {item["sha256"] for item in model.components}
        used |= set(PlanStep.objects.filter(plan__model=model).values_list("sha256", flat=True))
        outbox.keep_attempts_of(model)
        OnnxModel.objects.filter(pk=model.pk).delete()
    return used
