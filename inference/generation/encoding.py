"""What an encoder makes of a text or a sound, before a session begins: a run of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from browsers.core.protocol import WireTensor
from inference.catalog import registry
from inference.core.generation.asked import Asked
from inference.core.generation.stages import Decoder
from inference.documents import Array
from inference.generation import placing
from inference.ledger.endings import cancel
from inference.models import Run, RunStep
from inference.runs import creation
from inference.runs.answers import collect, release, wait_run
from inference.store.tensors import encode_array

_TEXT, _SOUND = "input_ids", "input_features"


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """What is to be encoded by `model`; `wanted`: its outputs that the decoder takes. Compared as itself."""

    model: str
    inputs: tuple[WireTensor, ...]
    wanted: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Heard:
    """What came of it, and the browsers that computed it."""

    memory: Sequence[WireTensor] = ()
    browsers: Sequence[str] = ()


NOTHING: Final = Heard()


def takes_text(decoder: Decoder) -> bool:
    """Whether its encoder reads text; else it may listen to sound."""
    return _TEXT in _inputs(decoder)


def window(decoder: Decoder) -> tuple[int, int] | None:
    """(mels, frames) of the sound that its encoder takes at once; None: it takes none."""
    match _inputs(decoder).get(_SOUND):
        case (_, int(mels), int(frames)):
            return mels, frames
    return None


def _inputs(decoder: Decoder) -> dict[str, tuple[int | str, ...]]:
    ports = registry.get_model(decoder.encoder).input_ports
    return {port.name: tuple(port.shape) for port in ports}


def of_text(decoder: Decoder, tokens: Sequence[int]) -> Encoding:
    return _of(decoder, _TEXT, np.array([tokens], np.int64))


def of_sound(decoder: Decoder, features: Array) -> Encoding:
    """`features`: float32[mels, frames]."""
    return _of(decoder, _SOUND, features[None])


def _of(decoder: Decoder, name: str, array: Array) -> Encoding:
    return Encoding(decoder.encoder, (encode_array(name, array),), decoder.whole.memory)


def begin(source: Encoding, asked: Asked, owner: str) -> Run:
    """Start the run, in the browsers that the session may use, on the backend that it is written on.

    Raises:
        WebpoolError: as `creation.create_run`.
    """
    return creation.create_run(
        creation.RunRequest(
            model=source.model,
            inputs=list(source.inputs),
            owner=owner,
            browsers=asked.browsers,
            platform=placing.backend_of(asked),
        )
    )


def hear(source: Encoding, asked: Asked, owner: str) -> Heard:
    """Run it, wait, and give what came of it; nothing of it is left in the store.

    Raises:
        WebpoolError: as `begin` and `heard`.
    """
    run = begin(source, asked, owner)
    try:
        return heard(source, wait_run(run))
    except BaseException:
        cancel(run.pk, "nobody waits for it")
        raise
    finally:
        release(run)


def heard(source: Encoding, run: Run) -> Heard:
    """What a run of it that has ended made.

    Raises:
        WebpoolError: it failed.
    """
    browsers = RunStep.objects.filter(run=run).values_list("browser", flat=True)
    return Heard(collect(run, source.wanted), [browser for browser in browsers if browser])
