"""How much the admin's pages take, through every layer: a file from who is logged in, a form from others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from inference.models import Comparison, OnnxModel
from inference.views.front import MOST_OF_STRANGERS_BYTES
from tests.support.asgi import Answered, ask
from tests.support.batches import chain_model
from tests.support.comparing import two_browsers

TOKEN = "a" * 32


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    with two_browsers():
        yield chain_model(tmp_path, "uploaded-for")


@pytest.fixture
def user(database: None) -> Iterator[User]:
    made = User.objects.create_superuser("uploader")
    yield made
    made.delete()


def compare(model: OnnxModel, user: User, extra_bytes: int) -> Answered:
    """Send the comparison's form with a file of inputs, so much larger than it need be."""
    (port,) = model.input_ports
    shape = [extent if isinstance(extent, int) else 2 for extent in port.shape or ()]
    values: Any = 0
    for extent in reversed(shape):
        values = [values] * extent
    written = f'{{"{port.name}": {values}}}'.encode() + b" " * extra_bytes
    form = {
        "csrfmiddlewaretoken": TOKEN, "backends": ["wasm"], "runs": "3", "inputs": "random",
        "file": SimpleUploadedFile("mine.json", written),
    }  # fmt: skip
    visitor = Client()
    visitor.force_login(user)
    session = visitor.cookies[site.SESSION_COOKIE_NAME].value
    headers = {
        "Content-Type": MULTIPART_CONTENT,
        "Cookie": f"{site.SESSION_COOKIE_NAME}={session}; csrftoken={TOKEN}",
    }
    body = encode_multipart(BOUNDARY, form)
    return ask("POST", f"/admin/compare/{model.name}/", body, headers)


def test_a_file_comes_with_a_login_of_staff(model: OnnxModel, user: User) -> None:
    answered = compare(model, user, 2**21)
    assert answered.status == 302, answered.body
    assert Comparison.objects.get().source == "mine.json"


@pytest.mark.parametrize("lost", ["is_staff", "is_active"])
def test_a_login_without_staff_status_is_told_what_is_taken(
    model: OnnxModel, user: User, lost: str
) -> None:
    setattr(user, lost, False)
    user.save()
    answered = compare(model, user, 2**21)
    assert answered.status == 413
    assert f"at most {MOST_OF_STRANGERS_BYTES} without a login" in answered.json()["error"]
    assert not Comparison.objects.exists()


def test_a_form_of_a_stranger_is_read(database: None, valkey: Any) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={TOKEN}"}
    form = f"csrfmiddlewaretoken={TOKEN}&username=nobody&password=".encode()
    form += b"x" * (MOST_OF_STRANGERS_BYTES - len(form))
    answered = ask("POST", "/admin/login/", form, headers)
    assert answered.status == 200
    assert b"correct username and password" in answered.body
    assert ask("POST", "/admin/login/", form + b"x", headers).status == 413
