"""What a model expects and gives, as people have it: pictures and sound in, labels and pictures out.

It is declared in a file beside the model, `webpool.json`, of which this is the form; docs/tasks.md tells it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

Layout: TypeAlias = Literal["NCHW", "NHWC"]
_LAYOUTS: Final = ("NCHW", "NHWC")
_FITS: Final = ("crop", "stretch")
MOST_PIXELS: Final = 4096
MOST_LABELS: Final = 100_000
_RATES: Final = (1, 384_000)


class BadExpectations(ValueError):
    """The file is not of that form; the message says where, what was expected and what came."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as an input: (pixel × scale − mean) / std per channel, pixels from 0 to 255.

    Attributes:
        width, height: in pixels, to which a picture is brought.
        channels: 3: red, green, blue; 1: grey.
        fit: "crop": scaled until it covers the size, the middle kept; "stretch": to the size as it is.
        layout: whether channels come before height and width, or after.
    """

    width: int
    height: int
    channels: int = 3
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fit: str = "crop"
    layout: str = "NCHW"


@dataclasses.dataclass(frozen=True)
class Sound:
    """Sound as an input: one channel from -1 to 1, [1, samples], at `rate` samples a second."""

    rate: int


@dataclasses.dataclass(frozen=True)
class Labels:
    """An output with a value per label on its last axis; `softmax`: they are shown as shares of 1."""

    labels: tuple[str, ...]
    softmax: bool = False


@dataclasses.dataclass(frozen=True)
class PictureOut:
    """An output that is a picture: pixel = value × scale + shift, cut to 0 to 255."""

    scale: float = 255.0
    shift: float = 0.0
    layout: str = "NCHW"


InputForm: TypeAlias = Picture | Sound
OutputForm: TypeAlias = Labels | PictureOut


@dataclasses.dataclass(frozen=True)
class Expectations:
    """By name of the port; `examples`: texts to try."""

    inputs: Mapping[str, InputForm] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, OutputForm] = dataclasses.field(default_factory=dict)
    examples: tuple[str, ...] = ()


def read(document: object) -> Expectations:
    """The form of a file's content.

    Raises:
        BadExpectations.
    """
    whole = _object(document, "webpool.json", ("inputs", "outputs", "examples"))
    inputs = _object(whole.get("inputs", {}), "inputs")
    outputs = _object(whole.get("outputs", {}), "outputs")
    return Expectations(
        {name: _input(f"inputs.{name}", one) for name, one in inputs.items()},
        {name: _output(f"outputs.{name}", one) for name, one in outputs.items()},
        _texts(whole.get("examples", []), "examples", 100),
    )


def check_ports(expected: Expectations, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raises BadExpectations: it names a port that the model has not."""
    for what, named, there in (
        ("input", expected.inputs, inputs),
        ("output", expected.outputs, outputs),
    ):
        for name in named:
            if name not in there:
                raise BadExpectations(
                    f"{what}s.{name}: the model has no such {what}; expected {', '.join(there)}"
                )


def _input(where: str, given: object) -> InputForm:
    form = _object(given, where, ("image", "sound"))
    if len(form) != 1:
        raise BadExpectations(f"{where}: expected either image or sound, got {list(form)}")
    if "sound" in form:
        sound = _object(form["sound"], f"{where}.sound", ("rate",))
        return Sound(_whole(sound.get("rate"), f"{where}.sound.rate", *_RATES))
    return picture(form["image"], f"{where}.image")


def picture(given: object, where: str) -> Picture:
    """Raises BadExpectations."""
    form = _object(given, where, tuple(field.name for field in dataclasses.fields(Picture)))
    channels = _whole(form.get("channels", 3), f"{where}.channels", 1, 3)
    if channels == 2:
        raise BadExpectations(f"{where}.channels: expected 1 or 3, got 2")
    std = _numbers(form.get("std", [1.0]), f"{where}.std", channels)
    if 0.0 in std:
        raise BadExpectations(f"{where}.std: expected no 0, got {list(std)}")
    return Picture(
        width=_whole(form.get("width"), f"{where}.width", 1, MOST_PIXELS),
        height=_whole(form.get("height"), f"{where}.height", 1, MOST_PIXELS),
        channels=channels,
        scale=_number(form.get("scale", 1 / 255), f"{where}.scale"),
        mean=_numbers(form.get("mean", [0.0]), f"{where}.mean", channels),
        std=std,
        fit=_one_of(form.get("fit", "crop"), f"{where}.fit", _FITS),
        layout=_one_of(form.get("layout", "NCHW"), f"{where}.layout", _LAYOUTS),
    )


def _output(where: str, given: object) -> OutputForm:
    form = _object(given, where, ("labels", "softmax", "image"))
    if ("labels" in form) == ("image" in form):
        raise BadExpectations(f"{where}: expected either labels or image, got {list(form)}")
    if "image" in form:
        at = f"{where}.image"
        shown = _object(form["image"], at, ("scale", "shift", "layout"))
        return PictureOut(
            _number(shown.get("scale", 255.0), f"{at}.scale"),
            _number(shown.get("shift", 0.0), f"{at}.shift"),
            _one_of(shown.get("layout", "NCHW"), f"{at}.layout", _LAYOUTS),
        )
    softmax = form.get("softmax", False)
    if not isinstance(softmax, bool):
        raise BadExpectations(f"{where}.softmax: expected true or false, got {softmax!r:.100}")
    return Labels(_texts(form["labels"], f"{where}.labels", MOST_LABELS), softmax)


def _object(given: object, where: str, known: Sequence[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise BadExpectations(f"{where}: expected an object, got {given!r:.100}")
    if known is not None and (unknown := sorted(set(given) - set(known))):
        raise BadExpectations(
            f"{where}: unknown {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
    return given


def _whole(given: object, where: str, least: int, most: int) -> int:
    if type(given) is not int or not least <= given <= most:
        raise BadExpectations(
            f"{where}: expected a whole number from {least} to {most}, got {given!r:.100}"
        )
    return given


def _number(given: object, where: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or abs(given) > 1e6:
        raise BadExpectations(f"{where}: expected a number, got {given!r:.100}")
    return float(given)


def _numbers(given: object, where: str, channels: int) -> tuple[float, ...]:
    if not isinstance(given, list) or len(given) not in (1, channels):
        raise BadExpectations(
            f"{where}: expected a list of 1 number or of {channels}, got {given!r:.100}"
        )
    return tuple(_number(one, where) for one in given)


def _one_of(given: object, where: str, words: Sequence[str]) -> str:
    if given not in words:
        raise BadExpectations(f"{where}: expected one of {', '.join(words)}, got {given!r:.100}")
    return str(given)


def _texts(given: object, where: str, most: int) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise BadExpectations(f"{where}: expected a list of texts, got {given!r:.100}")
    if len(given) > most:
        raise BadExpectations(f"{where}: expected at most {most}, got {len(given)}")
    return tuple(given)
