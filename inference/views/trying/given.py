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
from inference.runs.options import Door, options_of, parse_options
from inference.trying.fields import Field, Kind
from inference.trying.inputs import Given

_TENSORS = "tensors"
_SIZES = ("width", "height")
_WISHES = tuple(option.name for option in options_of(Door.TRY))
_OF_THE_PAGE = ("csrfmiddlewaretoken", "example")


def given_of(
    posted: QueryDict, files: MultiValueDict[str, UploadedFile], fields: list[Field]
) -> tuple[Given, JsonObject]:
    """What was given, and the run's options.

    Raises:
        InvalidRequest: a part that nobody reads, a form of a picture or an option that cannot be.
    """
    _check_parts(set(posted) - set(files), fields)  # REST puts files among them
    dropped = {name: cast("UploadedFile", files[name]).read() for name in files if files[name]}
    tensors = dropped.pop(_TENSORS, b"") or pasted(posted).encode()
    forms = {}
    for field in fields:
        if field.kind == Kind.PICTURE and (form := _form(field, posted)) is not None:
            forms[field.name] = form
    wishes = {name: posted[name] for name in _WISHES if posted.get(name)}
    texts = [text for text in posted.getlist("text") if text]
    return Given(texts, dropped, tensors, forms), parse_options(wishes, Door.TRY)


def pasted(posted: QueryDict) -> str:
    """Tensors as a text; a form's file of the same name that was not chosen comes as an empty one."""
    texts = [one.strip() for one in posted.getlist(_TENSORS) if isinstance(one, str)]
    return next(filter(None, texts), "")


def _check_parts(posted: set[str], fields: list[Field]) -> None:
    forms = [
        f"{one.name}.{key}" for one in fields if one.kind == Kind.PICTURE for key in vars(one.form)
    ]
    known = [*(one.name for one in fields), _TENSORS, *_WISHES, *forms]
    if unknown := sorted(posted.difference(known, _OF_THE_PAGE)):
        raise InvalidRequest(
            f"unknown part {unknown[0]!r:.100}; expected some of {', '.join(known)}"
        )


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
