"""webpool.json: what it may say, and what follows; files of strangers become arrays in the sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shlex
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference import sandbox
from inference.core import expectations
from inference.core.expectations import BadExpectations, Expectations, Labels, Picture, PictureOut
from inference.errors import Busy
from inference.models import OnnxModel
from inference.store.tensors import encode_array
from inference.trying import asking
from inference.trying.code import Asked, code
from inference.trying.fields import Field, Kind, fields
from inference.trying.inputs import Given
from inference.trying.showing import drawn, shown

DECLARED = {
    "inputs": {
        "x": {"image": {"width": 4, "height": 2, "mean": [0.5], "std": [0.25, 0.5, 1.0]}},
        "s": {"sound": {"rate": 16000}},
    },
    "outputs": {
        "y": {"labels": ["cat", "dog"], "softmax": True},
        "z": {"image": {"scale": 127.5, "shift": 127.5, "layout": "NHWC"}},
    },
    "examples": ["a text"],
}


def test_what_is_declared_is_read() -> None:
    found = expectations.read(DECLARED)
    assert found.inputs["x"] == Picture(4, 2, mean=(0.5,), std=(0.25, 0.5, 1.0))
    assert found.inputs["s"] == expectations.Sound(16000)
    assert found.outputs == {
        "y": Labels(("cat", "dog"), softmax=True),
        "z": PictureOut(127.5, 127.5, "NHWC"),
    }
    assert found.examples == ("a text",)
    expectations.check_ports(found, ["x", "s"], ["y", "z"])


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "webpool.json: expected an object"),
        ({"input": {}}, "unknown input"),
        ({"inputs": {"x": {}}}, "inputs.x: expected either image or sound"),
        ({"inputs": {"x": {"image": {"height": 2}}}}, "inputs.x.image.width: expected a whole"),
        ({"inputs": {"x": {"image": {"width": 1, "height": 1, "std": [0]}}}}, "expected no 0"),
        ({"inputs": {"x": {"image": {"width": 1, "height": 1, "mean": [1, 2]}}}}, "of 3, got"),
        ({"inputs": {"x": {"image": {"width": 1, "height": 1, "fit": "pad"}}}}, "crop, stretch"),
        ({"inputs": {"x": {"sound": {"rate": True}}}}, "inputs.x.sound.rate"),
        ({"outputs": {"y": {"labels": ["a"], "image": {}}}}, "either labels or image"),
        ({"outputs": {"y": {"labels": [1]}}}, "outputs.y.labels: expected a list of texts"),
        ({"examples": "a"}, "examples: expected a list"),
    ],
)
def test_what_it_may_not_say(document: object, says: str) -> None:
    with pytest.raises(BadExpectations, match=says):
        expectations.read(document)


def test_a_port_that_the_model_has_not() -> None:
    with pytest.raises(BadExpectations, match="the model has no such input; expected a"):
        expectations.check_ports(expectations.read(DECLARED), ["a"], ["y", "z"])


def file_of(image: Image.Image) -> np.ndarray[Any, Any]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def asked(form: Picture, image: Image.Image) -> np.ndarray[Any, Any]:
    return sandbox.ask("picture", arrays={"file": file_of(image)}, **vars(form)).arrays["values"]


def test_a_picture_becomes_what_was_declared() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    form = Picture(4, 2, mean=(0.5,), std=(0.25, 0.5, 1.0))
    values = asked(form, Image.fromarray(pixels))
    expected = (np.float32(pixels) / 255 - 0.5) / np.array([0.25, 0.5, 1.0], np.float32)
    assert values.shape == (1, 3, 2, 4) and values.dtype == np.float32
    np.testing.assert_allclose(values[0], expected.transpose(2, 0, 1), rtol=1e-5)


def test_the_middle_is_kept_or_all_of_it() -> None:
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[:, 2:4] = 255
    cropped = asked(Picture(2, 2, layout="NHWC"), Image.fromarray(pixels))
    assert cropped.shape == (1, 2, 2, 3)
    np.testing.assert_allclose(cropped, 1.0)
    stretched = asked(Picture(3, 1, channels=1, fit="stretch"), Image.fromarray(pixels))
    assert stretched.shape == (1, 1, 1, 3)
    assert stretched[0, 0, 0, 1] == stretched.max() > stretched[0, 0, 0, 0]


def wav(values: np.ndarray[Any, Any], rate: int, channels: int = 1) -> np.ndarray[Any, Any]:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((channels, 2, rate, 0, "NONE", ""))
        written.writeframes(values.astype("<i2").tobytes())
    return np.frombuffer(file.getvalue(), np.uint8)


def test_a_sound_becomes_one_channel_at_the_rate() -> None:
    stereo = np.array([[16384, 0], [-32768, 0]] * 100)
    values = sandbox.ask("sound", arrays={"file": wav(stereo, 8000, 2)}, rate=8000).arrays["values"]
    assert values.shape == (1, 200)
    np.testing.assert_array_equal(values[0, :2], [0.25, -0.5])
    halved = sandbox.ask("sound", arrays={"file": wav(stereo, 8000, 2)}, rate=4000).arrays["values"]
    assert halved.shape == (1, 100)


@pytest.mark.parametrize(
    ("job", "words"), [("picture", vars(Picture(2, 2))), ("sound", {"rate": 8000})]
)
def test_another_file_is_refused(job: str, words: dict[str, Any]) -> None:
    with pytest.raises(sandbox.Refused, match="that can be read"):
        sandbox.ask(job, arrays={"file": np.frombuffer(b"neither", np.uint8)}, **words)


def test_a_picture_that_another_program_would_draw_is_refused() -> None:
    """PostScript: Pillow gives it to Ghostscript."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "EPS")
    raw = {"file": np.frombuffer(file.getvalue(), np.uint8)}
    with pytest.raises(sandbox.Refused, match="no picture that can be read; expected JPEG, PNG"):
        sandbox.ask("picture", arrays=raw, **vars(Picture(2, 2)))


def test_packed_arrays_have_a_largest_size() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(1000, np.float32))
    raw = {"file": np.frombuffer(file.getvalue(), np.uint8)}
    assert sandbox.ask("arrays", arrays=raw, most_bytes=10_000).arrays["x"].shape == (1000,)
    with pytest.raises(sandbox.Refused, match="at most 1000 bytes"):
        sandbox.ask("arrays", arrays=raw, most_bytes=1000)


def test_outputs_are_shown_in_kind() -> None:
    expected = expectations.read(DECLARED)
    scores = np.log(np.array([[1.0, 3.0]], np.float32))
    labels = shown("y", scores, expected)
    assert [one["label"] for one in labels["rows"][0]] == ["dog", "cat"]
    assert [one["value"] for one in labels["rows"][0]] == pytest.approx([0.75, 0.25])

    picture = shown("z", np.array([[[[-1.0, 0.0, 1.0]]]], np.float32), expected)
    assert picture["kind"] == "image" and picture["pictures"][0].startswith(
        "data:image/png;base64,"
    )

    vector = drawn(shown("v", np.array([[0.5, -1.0]], np.float32), Expectations()))
    assert vector["rows"] == [[0.5, -1.0]] and vector["bars"][0]["largest"] == 1.0
    whole = shown("n", np.array([1, 2], np.int64), Expectations())
    assert (whole["kind"], whole["first"]) == ("values", [1, 2])


def test_labels_that_are_no_numbers_are_said_so() -> None:
    """JSON has no NaN."""
    labels = shown("y", np.array([[np.nan, 1.0]], np.float32), expectations.read(DECLARED))
    json.dumps(labels, allow_nan=False)
    assert [one["value"] for one in labels["rows"][0]] == ["nan", "nan"]
    assert [one["said"] for one in drawn(labels)["rows"][0]] == ["nan", "nan"]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("y", np.array([["a", "b"]], object)),
        ("z", np.zeros((1, 0, 0, 3), np.float32)),
        ("z", np.array([[[["a"]]]], object)),
    ],
)
def test_an_output_that_is_not_as_declared_is_shown_as_it_is(
    name: str, array: np.ndarray[Any, Any]
) -> None:
    told = drawn(shown(name, array, expectations.read(DECLARED)))
    assert told["kind"] in ("values", "vector") and told["shape"] == list(array.shape)


def ports(*shapes: Sequence[int | str]) -> OnnxModel:
    inputs = [
        {"name": f"x{at}", "dtype": "float32", "shape": list(shape)}
        for at, shape in enumerate(shapes)
    ]
    return OnnxModel(name="big", inputs=inputs)


def test_the_code_of_a_small_input_has_its_values_and_of_a_large_one_makes_them() -> None:
    model = ports((1, "n"), (2, 3))
    small = code(model, fields(model), "http://a")
    assert '"shape": [2, 3], "data": [0, 0, 0, 0, 0, 0]' in small["curl"]
    model = ports((1, 50_000, 50_000))
    large = code(model, fields(model), "http://a")
    assert "np.full([1, 50000, 50000], 0, np.float32)" in large["Python"]
    assert "new Array(2500000000).fill(0)" in large["JavaScript"]
    assert "-d @request.json" in large["curl"]
    assert max(map(len, large.values())) < 1000


def test_the_code_of_given_tensors_has_their_values_and_options() -> None:
    sent = [
        encode_array("x0", np.array([[0.1, 0.75]], np.float32)),
        encode_array("ids", np.array([[7]], np.int64)),
    ]
    asked = Asked(tensors=sent, wishes={"browsers": ("a", "b"), "shards": 2})
    told = code(ports((1, "n")), [Field("text", Kind.TEXT)], "http://a", asked)
    assert '"x0": np.array([[0.1, 0.75]], np.float32)' in told["Python"]
    assert 'pool.infer("big", inputs, browsers="a,b", shards=2)' in told["Python"]
    body = json.loads(shlex.split(told["curl"])[-1])
    assert [one["data"] for one in body["inputs"]] == [[0.1, 0.75], [7]]
    assert body["parameters"] == {"browsers": "a,b", "shards": 2}
    assert json.dumps(body) in told["JavaScript"]


@pytest.mark.parametrize("array", [np.full((1, 2000), 0.5), np.array([[np.nan]]), np.zeros((0, 2))])
def test_tensors_that_code_cannot_hold_keep_their_shape(array: np.ndarray[Any, Any]) -> None:
    sent = encode_array("x0", array.astype(np.float32))
    told = code(ports((1, "n")), [], "http://a", Asked(tensors=[sent], wishes={"shards": 2}))
    assert f"np.full({list(array.shape)}, 0, np.float32)" in told["Python"]
    assert '"parameters": {"shards": 2}' in told["JavaScript"]


def test_the_code_of_an_edited_picture_says_what_was_edited() -> None:
    form = Picture(4, 2)
    edited = {"x": dataclasses.replace(form, mean=(1.0, 0.5, 1.0))}
    field = Field("x", Kind.PICTURE, form=form)
    told = code(OnnxModel(name="m"), [field], "http://a", Asked(forms=edited))
    assert 'forms={"x": {"mean": [1.0, 0.5, 1.0]}}' in told["Python"]
    assert "--form-string 'x.mean=1.0, 0.5, 1.0'" in told["curl"]
    assert 'form.append("x.mean", "1.0, 0.5, 1.0")' in told["JavaScript"]
    assert "forms" not in code(OnnxModel(name="m"), [field], "http://a")["Python"]


def test_a_text_is_no_name_of_a_file_to_curl() -> None:
    told = code(
        OnnxModel(name="m"), [Field("text", Kind.TEXT)], "http://a", Asked(["@/etc/passwd"])
    )
    assert "--form-string text=@/etc/passwd" in told["curl"] and "-F" not in told["curl"]


def test_who_tries_a_model_beside_many_others_is_told_to_come_again() -> None:
    """Each holds a thread until its answer is there."""
    with contextlib.ExitStack() as others:
        for _ in range(asking._WAITING_AT_MOST):
            others.enter_context(asking._waiting)
        with pytest.raises(Busy, match="16 models are being tried"):
            asking.tried(OnnxModel(name="m"), Given(), {}, "")
