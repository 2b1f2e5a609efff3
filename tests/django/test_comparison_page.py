"""The forms by which a model is compared, now and every night: what they ask for, and what they refuse."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from inference import tasks
from inference.comparisons import asking, storage
from inference.models import Comparison, OnnxModel
from inference.sandbox import archives
from inference.store.tensors import decode_array
from tests.support.batches import chain_model
from tests.support.comparing import two_browsers

FORM = {"backends": ["wasm"], "runs": "3", "inputs": "random"}


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    with two_browsers():
        yield chain_model(tmp_path, "compared")


@pytest.fixture
def person(model: OnnxModel) -> Iterator[Client]:
    user = User.objects.create_superuser("comparer")
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    yield client
    user.delete()


def test_rows_seed_and_strict_are_asked_for(person: Client, model: OnnxModel) -> None:
    form = {**FORM, "rows": "3", "seed": "11", "strict": "on"}
    assert person.post(f"/admin/compare/{model.name}/", form).status_code == 302
    one = Comparison.objects.get()
    assert (one.seed, one.runs, one.asked["rows"], one.asked["strict"]) == (11, 3, 3, True)
    assert [tensor.shape[0] for tensor in storage.read(one.pk).inputs] == [3]


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_file_of_inputs_is_asked(person: Client, model: OnnxModel, kind: str) -> None:
    (port,) = model.input_ports
    shape = [extent if isinstance(extent, int) else 2 for extent in port.shape or ()]
    values = np.arange(np.prod(shape), dtype=port.dtype).reshape(shape)
    raw = io.BytesIO()
    archives.write(raw, {port.name: values})
    written = raw.getvalue() if kind == "npz" else f'{{"{port.name}": {values.tolist()}}}'.encode()
    file = SimpleUploadedFile(f"mine.{kind}", written)
    assert person.post(f"/admin/compare/{model.name}/", {**FORM, "file": file}).status_code == 302
    one = Comparison.objects.get()
    assert one.source == f"mine.{kind}"
    (asked,) = storage.read(one.pk).inputs
    np.testing.assert_array_equal(decode_array(asked), values)


def test_what_is_refused_is_said_and_the_form_keeps_what_was_written(
    person: Client, model: OnnxModel
) -> None:
    file = SimpleUploadedFile("mine.json", b'{"nosuch": [1]}')
    for more, says in (({"seed": "-1"}, "seed: expected"), ({"file": file}, "nosuch")):
        form = {**FORM, "browsers": "a", "rows": "5", **more}
        page = person.post(f"/admin/compare/{model.name}/", form).content.decode()
        assert says in page
        assert 'name="browsers" value="a"' in page and 'max="65536" value="5"' in page
        assert 'value="wasm" checked' in page and 'value="webgpu" checked' not in page
    assert not Comparison.objects.exists()


def schedule(person: Client, **words: Any) -> Any:
    """The form of a schedule, sent; words as keyword arguments of the comparison."""
    every_day, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    form = {
        "name": "nightly", "regtask": "inference.tasks.compare_model", "interval": every_day.pk, "args": "[]",
        "enabled": "on", "kwargs": json.dumps(words), "start_time_0": "2026-01-01", "start_time_1": "02:00",
    }  # fmt: skip
    return person.post("/admin/django_celery_beat/periodictask/add/", form)


def test_every_night_is_an_interval_to_choose(person: Client, model: OnnxModel) -> None:
    page = person.get("/admin/django_celery_beat/periodictask/add/").content.decode()
    assert re.search(r"<option[^>]*>\s*every day\s*</option>", page)
    answer = schedule(person, model=model.name, backends=["wasm"])
    assert answer.status_code == 302, answer.content.decode()
    PeriodicTask.objects.get(name="nightly").delete()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"model": "nosuch"}, "no model named &#x27;nosuch&#x27;"),
        ({"browser": ["firefox"]}, "unknown &#x27;browser&#x27;"),
        ({"runs": 0}, "runs: expected"),
        ({"inputs": {"nosuch": [1]}}, "unknown input &#x27;nosuch&#x27;"),
    ],
)
def test_a_schedule_that_would_fail_at_night_is_refused_when_it_is_saved(
    person: Client, model: OnnxModel, words: dict[str, Any], says: str
) -> None:
    answer = schedule(person, **{"model": model.name, **words})
    assert answer.status_code == 200 and says in answer.content.decode()
    assert not PeriodicTask.objects.filter(name="nightly").exists()


def test_a_schedule_asks_given_inputs(person: Client, model: OnnxModel) -> None:
    (port,) = model.input_ports
    shape = [extent if isinstance(extent, int) else 2 for extent in port.shape or ()]
    inputs = {port.name: np.ones(shape).tolist()}
    found = asking.get(tasks.compare_model(model.name, backends=["wasm"], inputs=inputs))
    assert (found.source, found.scheduled) == ("given", True)
    assert decode_array(storage.read(found.pk).inputs[0]).tolist() == inputs[port.name]
