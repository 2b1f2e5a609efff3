"""The known-answer model and its answer."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from browsers import probe
from browsers.core.errors import InternalError
from browsers.core.protocol import WireTensor


def answer() -> WireTensor:
    session = onnxruntime.InferenceSession(probe.PROBE_PATH)
    (sent,) = probe.inputs()
    x = np.frombuffer(sent.data, np.float32).reshape(sent.shape)
    (y,) = session.run(None, {"x": x})
    return WireTensor("y", "float32", y.shape, y.tobytes())


def test_onnxruntime_gives_the_expected_answer() -> None:
    assert probe.largest_error([answer()]) < 1e-5


def test_the_file_is_what_the_source_builds() -> None:
    built = onnxruntime.InferenceSession(probe.build())
    kept = onnxruntime.InferenceSession(probe.PROBE_PATH)
    (sent,) = probe.inputs()
    x = np.frombuffer(sent.data, np.float32).reshape(sent.shape)
    np.testing.assert_array_equal(built.run(None, {"x": x})[0], kept.run(None, {"x": x})[0])
    assert probe.PROBE_PATH.stat().st_size < 8192


def test_a_wrong_answer_is_seen() -> None:
    right = answer()
    wrong = np.frombuffer(right.data, np.float32).copy()
    wrong[1234] += 0.01
    off = probe.largest_error([WireTensor("y", "float32", right.shape, wrong.tobytes())])
    assert off > probe.TOLERANCE
    wrong[7] = np.nan
    off = probe.largest_error([WireTensor("y", "float32", right.shape, wrong.tobytes())])
    assert off == float("inf")


def test_another_shape_is_an_error() -> None:
    with pytest.raises(InternalError, match="expected float32"):
        probe.largest_error([WireTensor("y", "float32", (2,), bytes(8))])


def test_slow_backends_are_timed_less_often() -> None:
    assert probe.wants_more([])
    assert probe.wants_more([90.0, 90.0])
    assert not probe.wants_more([90.0, 90.0, 90.0])
    assert not probe.wants_more([500.0])
    assert probe.wants_more([1.0] * 4)
    assert not probe.wants_more([1.0] * 5)
