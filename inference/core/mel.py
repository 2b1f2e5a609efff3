"""Sound as Whisper hears it: the logarithm of its power by pitch and time (arXiv:2212.04356, section 2.2)."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]
RATE_HZ: Final = 16_000
HOP: Final = 160
"""Samples from one frame to the next."""
_WINDOW: Final = 400
# Slaney's scale: linear below 1000 Hz, logarithmic above.
_LINEAR_HZ, _KNEE_HZ, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def log_mel(sound: Sound, mels: int, frames: int) -> Sound:
    """float32[mels, frames] of mono sound at RATE_HZ, as many samples as `frames` take; less is silence.

    Values are about -1 to 1: decibels over eight tenths of the loudest, scaled.
    """
    whole = np.zeros(frames * HOP, np.float32)
    whole[: len(sound)] = sound[: len(whole)]
    padded = np.pad(whole, _WINDOW // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:frames]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(pieces * hann)) ** 2
    levels = np.log10(np.maximum(power @ filters(mels).T, 1e-10))
    levels = np.maximum(levels, levels.max() - 8)
    return ((levels.T + 4) / 4).astype(np.float32)


@functools.cache
def filters(mels: int) -> NDArray[np.float64]:
    """Triangles of equal area, evenly spaced on Slaney's scale: float64[mels, 201]."""
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    corners = _hertz(np.linspace(0, _mel(RATE_HZ / 2), mels + 2))
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    area: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return area


def _mel(hertz: float) -> float:
    if hertz < _KNEE_HZ:
        return hertz / _LINEAR_HZ
    return float(_KNEE_HZ / _LINEAR_HZ + np.log(hertz / _KNEE_HZ) / _STEP)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _KNEE_HZ / _LINEAR_HZ
    return np.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_STEP * (mel - knee)))
