"""How each input of a model is offered to a person."""

from __future__ import annotations

import dataclasses
import enum

from inference.catalog import expectations
from inference.core.expectations import Picture, Sound
from inference.core.ports import Port
from inference.models import OnnxModel

_USUAL_PIXELS = 224
_TEXT = "input_ids"


class Kind(enum.StrEnum):
    TEXT = "text"
    PICTURE = "picture"
    SOUND = "sound"
    TENSOR = "tensor"


@dataclasses.dataclass(frozen=True)
class Field:
    """An input, or for `TEXT` all those that a tokenizer makes.

    Attributes:
        form: of a picture or a sound, declared or taken from the port's shape.
        declared: whether `form` came with the model.
    """

    name: str
    kind: Kind
    shape: str = ""
    form: Picture | Sound | None = None
    declared: bool = False


def fields(model: OnnxModel) -> list[Field]:
    """In the model's order; where a tokenizer makes the inputs, one text."""
    ports = [port for port in model.input_ports if not _has_value(model, port)]
    if model.tokenizer and any(port.name == _TEXT for port in ports):
        return [Field("text", Kind.TEXT)]
    declared = expectations.of_model(model).inputs
    found = []
    for port in ports:
        form = declared.get(port.name) or _picture_of(port)
        kind = (
            Kind.TENSOR
            if form is None
            else Kind.PICTURE
            if isinstance(form, Picture)
            else Kind.SOUND
        )
        shape = f"{port.dtype} [{', '.join(map(str, port.shape or ()))}]"
        found.append(Field(port.name, kind, shape, form, port.name in declared))
    return found


def _has_value(model: OnnxModel, port: Port) -> bool:
    """Whether nobody gives it: a weight that the file lists, or a default that is declared."""
    told = next(one for one in model.inputs if one["name"] == port.name)
    return bool(told.get("optional") or told.get("default"))


def _picture_of(port: Port) -> Picture | None:
    """A float32 input of one or three channels and two more sizes is taken for a picture."""
    shape = port.shape or ()
    if port.dtype != "float32" or len(shape) != 4:
        return None
    for layout, channels, sizes in (
        ("NCHW", shape[1], shape[2:]),
        ("NHWC", shape[3], shape[1:3]),
    ):
        if channels in (1, 3):
            height, width = (one if isinstance(one, int) else _USUAL_PIXELS for one in sizes)
            return Picture(width, height, int(channels), layout=layout)
    return None
