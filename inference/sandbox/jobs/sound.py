"""A stranger's sound: its samples, or as an encoder takes them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import soundfile
from scipy.signal import resample_poly

from inference.core.mel import HOP, RATE_HZ, Sound, log_mel
from inference.documents import Array
from inference.sandbox.frames import Answer

_MOST_RATE: Final = 384_000
_MOST_CHANNELS: Final = 32
_MOST_SAMPLES: Final = 50_000_000


def samples(arrays: Mapping[str, Array], rate: int) -> Answer:
    """`values` float32[1, samples], one channel at `rate` samples a second, of the bytes `file` uint8[…].

    Raises:
        ValueError: it is no sound that can be read, is empty, or too long.
    """
    sound = _read(arrays["file"].tobytes(), rate, _MOST_SAMPLES / rate)
    if not len(sound):
        raise ValueError("it has no samples")
    return Answer(None, {"values": np.ascontiguousarray(sound[np.newaxis], np.float32)})


def features(arrays: Mapping[str, Array], mels: int, frames: int, most: int) -> Answer:
    """`features` float32[windows, mels, frames] of the file whose bytes are `file` uint8[…].

    Args:
        frames: of a window; the last one ends with silence.
        most: windows.

    Raises:
        ValueError: it is no sound that can be read, is empty, or too long.
    """
    longest_s = most * frames * HOP / RATE_HZ
    sound = _read(arrays["file"].tobytes(), RATE_HZ, longest_s)
    length = frames * HOP
    windows = [sound[at : at + length] for at in range(0, len(sound), length)]
    if not windows:
        raise ValueError("it has no samples")
    made = np.stack([log_mel(window, mels, frames) for window in windows])
    return Answer(len(sound) / RATE_HZ, {"features": made})


def _read(raw: bytes, rate: int, longest_s: float) -> Sound:
    """Mono, at so many samples a second."""
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            own, channels = file.samplerate, file.channels
            if not 0 < own <= _MOST_RATE or not 0 < channels <= _MOST_CHANNELS:
                raise ValueError(f"expected at most {_MOST_RATE} Hz and {_MOST_CHANNELS} channels")
            most = int(longest_s * own)
            samples = file.read(most + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        why = getattr(error, "error_string", error)
        raise ValueError(f"it is no WAV, FLAC, MP3 or Ogg that can be read: {why}") from error
    if len(samples) > most:
        raise ValueError(f"expected at most {longest_s:g} s, got more")
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError("it has samples that are no numbers")
    if own == rate:
        return mono
    common = math.gcd(own, rate)
    made: Sound = resample_poly(mono, rate // common, own // common).astype(np.float32)
    return made
