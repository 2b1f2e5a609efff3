"""Register a model from uploaded files, and remove one with the files that nobody else needs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from inference import registry
from inference.errors import InvalidRequest, WebpoolError
from inference.models import OnnxModel, PlanShard


class Conflict(WebpoolError):
    """The request is right, but not in the state that things are in."""

    status = 409
    category = "conflict"


def register_upload(
    onnx: UploadedFile,
    *,
    name: str,
    model_type: str,
    tokenizer: UploadedFile | None = None,
    external_data: Sequence[UploadedFile] = (),
) -> OnnxModel:
    """Register an uploaded ONNX file; external data files keep their names and lie beside it.

    Raises:
        InvalidRequest: as `registry.add_model`, or two files of one name.
    """
    with tempfile.TemporaryDirectory(
        prefix="upload-", dir=settings.WEBPOOL_HOME / "models"
    ) as folder:
        path = _save(onnx, Path(folder))
        for data in external_data:
            _save(data, Path(folder))
        tokenizer_path = None
        if tokenizer is not None:
            (Path(folder) / "tokenizer").mkdir()
            tokenizer_path = _save(tokenizer, Path(folder) / "tokenizer")
        return registry.add_model(path, name=name, model_type=model_type, tokenizer=tokenizer_path)


def _save(file: UploadedFile, folder: Path) -> Path:
    path = folder / Path(file.name or "model.onnx").name
    if path.exists():
        raise InvalidRequest(f"two uploaded files are named {path.name!r}; names must differ")
    with path.open("xb") as target:
        for chunk in file.chunks():
            target.write(chunk)
    return path


def remove_model(model: OnnxModel) -> None:
    """Delete a model, its plans and runs, and the files that no other model or plan names.

    Raises:
        Conflict: runs or batch jobs of it are active.
    """
    with transaction.atomic():
        active = model.runs.filter(state="running").count()
        if active:
            raise Conflict(f"{active} runs of model {model.name} are active; cancel them or wait")
        if jobs := model.batch_jobs.filter(state="running").count():
            raise Conflict(f"{jobs} batch jobs of model {model.name} run; cancel them or wait")
        used = {model.sha256, model.tokenizer} - {""}
        used |= set(PlanShard.objects.filter(plan__model=model).values_list("sha256", flat=True))
        model.delete()
    registry.discard(used)
