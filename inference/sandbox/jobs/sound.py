"""A stranger's sound, as an encoder takes it."""

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


def features(arrays: Mapping[str, Array], mels: int, frames: int, most: int) -> Answer:
    """`features` float32[windows, mels, frames] of the file whose bytes are `file` uint8[…].

    Args:
        frames: of a window; the last one ends with silence.
        most: windows.

    Raises:
        ValueError: it is no sound that can be read, is empty, or too long.
    """
    longest_s = most * frames * HOP / RATE_HZ
    sound = _read(arrays["file"].tobytes(), longest_s)
    length = frames * HOP
    windows = [sound[at : at + length] for at in range(0, len(sound), length)]
    if not windows:
        raise ValueError("it has no samples")
    made = np.stack([log_mel(window, mels, frames) for window in windows])
    return Answer(len(sound) / RATE_HZ, {"features": made})


def _read(raw: bytes, longest_s: float) -> Sound:
    """Mono, at RATE_HZ."""
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            rate, channels = file.samplerate, file.channels
            if not 0 < rate <= _MOST_RATE or not 0 < channels <= _MOST_CHANNELS:
                raise ValueError(f"expected at most {_MOST_RATE} Hz and {_MOST_CHANNELS} channels")
            most = int(longest_s * rate)
            samples = file.read(most + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"it is no WAV, FLAC, MP3 or Ogg that can be read: {error}") from error
    if len(samples) > most:
        raise ValueError(f"expected at most {longest_s:g} s, got more")
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError("it has samples that are no numbers")
    if rate == RATE_HZ:
        return mono
    common = math.gcd(rate, RATE_HZ)
    made: Sound = resample_poly(mono, RATE_HZ // common, rate // common).astype(np.float32)
    return made
