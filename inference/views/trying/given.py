"""What a form for trying a model has: texts, files, tensors, pictures' forms, and how the run goes."""

from __future__ import annotations

from typing import cast

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from inference.core import expectations
from inference.core.expectations import BadExpectations, Picture
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.runs.options import Door, parse_options
from inference.trying.fields import Field, Kind
from inference.trying.inputs import Given

_TENSORS = "tensors"
_SIZES = ("width", "height")
_WISHES = ("browsers", "platform", "strategy", "shards")


def given_of(
    posted: QueryDict, files: MultiValueDict[str, UploadedFile], fields: list[Field]
) -> tuple[Given, JsonObject]:
    """What was given, and the run's options.

    Raises:
        InvalidRequest: a form of a picture that cannot be, or an option that cannot be.
    """
    dropped = {name: cast("UploadedFile", files[name]).read() for name in files if files[name]}
    tensors = dropped.pop(_TENSORS, b"") or posted.get(_TENSORS, "").strip().encode()
    forms = {}
    for field in fields:
        if field.kind == Kind.PICTURE and (form := _form(field, posted)) is not None:
            forms[field.name] = form
    wishes = {name: posted[name] for name in _WISHES if posted.get(name)}
    texts = [text for text in posted.getlist("text") if text]
    return Given(texts, dropped, tensors, forms), parse_options(wishes, Door.JOBS)


def _form(field: Field, posted: QueryDict) -> Picture | None:
    """A picture's form as it was edited; None: it was not sent."""
    keys = [key for key in vars(field.form) if f"{field.name}.{key}" in posted]
    if not keys:
        return None
    told: JsonObject = dict(vars(field.form))
    try:
        for key in keys:
            told[key] = _value(key, str(posted[f"{field.name}.{key}"]))
        told["mean"], told["std"] = list(told["mean"]), list(told["std"])
        return expectations.picture(told, field.name)
    except (BadExpectations, ValueError) as error:
        raise InvalidRequest(str(error)) from error


def _value(key: str, text: str) -> object:
    if key in (*_SIZES, "channels"):
        return int(text)
    if key in ("mean", "std"):
        return [float(one) for one in text.replace(",", " ").split()]
    return float(text) if key == "scale" else text
