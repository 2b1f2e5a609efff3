"""A sound as sessions take it: its windows for the encoder, and the tokens that a transcript begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from inference import sandbox
from inference.catalog.texts import texts_of
from inference.core.generation.stages import Decoder
from inference.errors import InvalidRequest
from inference.generation import encoding
from inference.generation.encoding import Encoding
from inference.models import OnnxModel

_MOST_WINDOWS: Final = 60  # half an hour, for a model that hears 30 s at once


def hears(decoder: Decoder) -> bool:
    """Whether its encoder listens to sound."""
    return bool(decoder.encoder) and encoding.window(decoder) is not None


def windows(decoder: Decoder, sound: bytes) -> Sequence[Encoding]:
    """What the encoder is to hear of a file, piece by piece; the last one ends with silence.

    Raises:
        InvalidRequest: it is no sound that can be read, is empty, or too long.
    """
    window = encoding.window(decoder)
    assert window is not None, "a model that hears no sound was refused"
    mels, frames = window
    try:
        found = sandbox.ask(
            "features",
            places=sandbox.MEDIA,
            arrays={"file": np.frombuffer(sound, np.uint8)},
            mels=mels,
            frames=frames,
            most=_MOST_WINDOWS,
        )
    except sandbox.Refused as error:
        raise InvalidRequest(str(error)) from error
    return [encoding.of_sound(decoder, one) for one in found.arrays["features"]]


def begins(model: OnnxModel, decoder: Decoder, language: str) -> list[int]:
    """The tokens that a transcript begins with: the second says the language, where one is asked for.

    Raises:
        InvalidRequest: the model has no token for it.
    """
    own = list(decoder.begins)
    if not language:
        return own
    spoken = texts_of(model).encode(f"<|{language}|>", special=False)
    if len(spoken) != 1 or len(own) < 2:
        raise InvalidRequest(f"model {model.name} has no token for {language}")
    return [own[0], *spoken, *own[2:]]
