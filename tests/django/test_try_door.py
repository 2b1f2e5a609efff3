"""Models tried with files at the door: a few at once of each owner, and text beside them."""

from __future__ import annotations

import contextlib
import io
import threading

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from inference.models import OnnxModel
from inference.sandbox import speak_for
from inference.trying import asking
from inference.trying.inputs import Given
from tests.support.people import by_key

pytestmark = pytest.mark.usefixtures("clean")


def packed() -> bytes:
    """Of another name than the model's input has: refused once it is looked at."""
    file = io.BytesIO()
    np.savez_compressed(file, unknown=np.zeros(4, np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "small"),
    [
        (Given(texts=["a text"]), True),
        (Given(tensors=b'{"x": [1]}'), True),
        (Given(tensors=b" " * (2**20 + 1)), False),
        (Given(tensors=packed()), False),
        (Given(files={"pixels": b"a picture"}), False),
    ],
)
def test_what_may_be_large_once_it_is_read_is_told_from_text(given: Given, small: bool) -> None:
    assert asking._is_small(given) == small


def test_a_file_waits_where_the_owner_has_two_tried_and_text_does_not(
    asked_model: OnnxModel,
) -> None:
    path = f"/api/models/{asked_model.name}/try/"
    client, answers = by_key("trier"), list[int]()

    def post(content: object) -> None:
        answers.append(client.post(path, {"tensors": content}).status_code)

    waiting = threading.Thread(
        target=post, args=(SimpleUploadedFile("t.npz", packed()),), daemon=True
    )
    with contextlib.ExitStack() as held:
        speak_for("key trier")
        for _ in range(2):
            held.enter_context(asking._LARGE.taken())
        waiting.start()
        post('{"unknown": [1]}')
        assert answers == [400]
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(30)
    assert answers == [400, 400]
