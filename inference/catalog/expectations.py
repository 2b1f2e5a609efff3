"""A model's `webpool.json`: read, checked against its ports, kept with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from django.core.files.uploadedfile import UploadedFile

from inference import sandbox
from inference.catalog import uploads
from inference.conversion import declared
from inference.conversion.documents import Bounds
from inference.core import expectations
from inference.core.expectations import BadExpectations, Expectations
from inference.errors import InvalidRequest
from inference.models import OnnxModel

FILE: Final = "webpool.json"
_MOST_BYTES: Final = 4 * 2**20


def of_model(model: OnnxModel) -> Expectations:
    """What was declared with a model; nothing, where nothing was."""
    return expectations.read(model.expectations)


def beside(model_file: Path) -> Path | None:
    """The file beside a model's, or in its folder, if there is one."""
    path = (model_file if model_file.is_dir() else model_file.parent) / FILE
    return path if path.is_file() else None


def registered(register: Callable[[], OnnxModel], given: Path | UploadedFile | None) -> OnnxModel:
    """Register a model and keep its expectations with it; again with others: these replace them.

    Raises:
        InvalidRequest: the file is not of that form, or names a port that the model has not; then the model
            is not kept either, unless it was there before.
    """
    if given is None:
        return register()
    document = declared_in(given)
    known = set(OnnxModel.objects.values_list("pk", flat=True))
    model = register()
    try:
        expectations.check_ports(
            expectations.read(document),
            [port["name"] for port in model.inputs],
            [port["name"] for port in model.outputs],
        )
    except BadExpectations as error:
        if model.pk not in known:
            uploads.remove_model(model)
        raise InvalidRequest(f"{FILE}: {error}") from error
    OnnxModel.objects.filter(pk=model.pk).update(expectations=document)
    model.expectations = document
    return model


def declared_in(given: Path | UploadedFile) -> object:
    """The document of a file, which is of the form; it is built in the sandbox.

    Raises:
        InvalidRequest: it cannot be read, or is of another form.
    """
    try:
        raw = given.read_bytes() if isinstance(given, Path) else given.read()
    except OSError as error:
        raise InvalidRequest(f"{given}: cannot be read: {error.strerror}") from error
    if len(raw) > _MOST_BYTES:
        raise InvalidRequest(f"{FILE}: expected at most {_MOST_BYTES} bytes, got {len(raw)}")
    try:
        # Whatever it holds: what comes back is of the form, and as small as that makes it.
        answer = sandbox.ask(
            "declared",
            arrays={declared.BODY: np.frombuffer(raw, np.uint8)},
            reader=declared.__name__,
            bounds=dataclasses.asdict(Bounds.of_settings()),
        )
    except sandbox.Refused as error:
        raise InvalidRequest(f"{FILE}: {error}") from error
    return answer.document
