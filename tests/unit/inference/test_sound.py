"""Sounds as an encoder takes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import signal

from inference.core.mel import HOP, RATE_HZ, filters, log_mel
from inference.sandbox.jobs.sound import features
from tests.support import listeners


def of_file(raw: bytes, frames: int = 100, most: int = 4) -> Any:
    return features({"file": np.frombuffer(raw, np.uint8)}, 80, frames, most).arrays["features"]


def test_the_filters_are_those_that_whisper_was_trained_with() -> None:
    """Their first numbers, as published with its weights."""
    np.testing.assert_allclose(filters(80)[0, :3], [0, 0.02486259, 0], atol=1e-7)
    np.testing.assert_allclose(filters(80)[1, 1:4], [0.00199082, 0.02287177, 0], atol=1e-7)


def test_it_is_the_spectrogram_that_scipy_computes() -> None:
    _, samples = listeners.sound(1.0, RATE_HZ, "WAV")
    _, _, spectrum = signal.stft(
        np.pad(samples, 200, mode="reflect"), nperseg=400, noverlap=240, boundary=None, padded=False,
        window=signal.get_window("hann", 400, fftbins=True), scaling="spectrum",
    )  # fmt: skip
    power = np.abs(spectrum[:, :100] * 200) ** 2
    levels = np.log10(np.maximum(filters(80) @ power, 1e-10))
    wanted = (np.maximum(levels, levels.max() - 8) + 4) / 4
    got = log_mel(samples.astype(np.float32), 80, 100)
    np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_a_tone_is_heard_at_its_pitch_whatever_the_file() -> None:
    heard = {}
    for form, rate in (("WAV", 16_000), ("FLAC", 44_100), ("MP3", 48_000), ("OGG", 22_050)):
        raw, _ = listeners.sound(1.0, rate, form)
        heard[form] = of_file(raw)[0]
    middle = (filters(80) * np.fft.rfftfreq(400, 1 / RATE_HZ)).sum(1) / filters(80).sum(1)
    for one in heard.values():
        loudest = int(one[:40, 20:60].mean(1).argmax())
        assert math.isclose(middle[loudest], 440, rel_tol=0.1)
    np.testing.assert_allclose(heard["FLAC"][:, 5:90], heard["WAV"][:, 5:90], atol=0.25)


def test_a_long_sound_is_cut_and_a_short_one_ends_with_silence() -> None:
    raw, _ = listeners.sound(2.5, RATE_HZ, "WAV")
    assert of_file(raw).shape == (3, 80, 100)
    half = of_file(listeners.sound(0.5, RATE_HZ, "WAV")[0])[0]
    assert half[:, 60:].max() == half.min()
    assert HOP * 100 == RATE_HZ


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"no sound", "no WAV, FLAC, MP3"),
        (listeners.sound(0.0, 16_000, "WAV")[0], "no samples"),
        (listeners.sound(4.1, 16_000, "WAV")[0], "at most 4 s"),
    ],
)
def test_what_cannot_be_heard_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        of_file(raw)
