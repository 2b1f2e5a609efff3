"""A name that nothing reads is refused by every door and command, before anything is done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from drf_spectacular.generators import SchemaGenerator

from browsers.models import Browser
from browsers.redis import client
from inference.models import OnnxModel, Run
from inference.models.batches import BatchJob
from tests.support.asgi import ask
from tests.support.batches import chain_model, new_job
from tests.support.ledger import publish

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def job(database: None, valkey: Any, tmp_path: Path) -> Iterator[BatchJob]:
    client().flushall()
    Browser.objects.create(id="a", kind="chromium", family="chromium")
    publish("a")
    yield new_job(chain_model(tmp_path, "misspelt"), tmp_path)
    for rows in (BatchJob, Run, OnnxModel, Browser):
        rows.objects.all().delete()
    client().flushall()


def test_a_misspelt_name_in_a_document(job: BatchJob) -> None:
    for path, body in {
        f"/api/batches/{job.pk}/resume/": b'{"retry_faild": true}',
        "/api/browsers/a/drain/": b'{"raeson": "x"}',
        "/api/plans/": b'{"model": "misspelt", "shard": 2}',
        "/api/runs/": b'{"model": "misspelt", "inputs": {"x": [[1, 2, 3, 4]]}, "shard": 2}',
        "/api/models/": b'{"name": "x", "manifest": {}, "modeltype": "text"}',
    }.items():
        answered = ask("POST", path, body, JSON)
        assert answered.status == 400, path
        assert "unknown" in answered.json()["error"], path
    assert Browser.objects.get().drained_at is None


def _rest() -> Iterator[tuple[str, str, set[str]]]:
    """Every operation of /api/: its path, its method, what the schema lets be asked after the `?`."""
    for path, operations in (
        SchemaGenerator().get_schema(request=None, public=True)["paths"].items()
    ):
        for method, told in operations.items() if path.startswith("/api/") else ():
            names = {one["name"] for one in told.get("parameters", ()) if one["in"] == "query"}
            yield path, method.upper(), names


def test_a_misspelt_name_after_the_question_mark(job: BatchJob) -> None:
    """A filter that nobody reads would answer with everything: those that exist are told, as published."""
    operations = list(_rest())
    for path, method, names in operations:
        told = ask(method, re.sub(r"{\w+}", "1", path), query="modle=x", headers=JSON)
        assert told.status == 400, (method, path)
        wrong, _, expected = told.json()["error"].partition("; expected ")
        assert "unknown 'modle'" in wrong, (method, path)
        assert set(expected.replace("nothing", "").split(", ")) - {""} == names, (method, path)
    lists = [path for path, method, names in operations if "offset" in names]
    assert {"/api/runs/", "/api/shards/", "/api/models/", "/api/browsers/"} <= set(lists)
    assert [names for path, _, names in operations if path == "/api/history/trends/"] == [
        {"browser", "days", "model_name", "model_type", "platform"}
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=runing", "expected one of running"),
        ("state=", "expected one of running"),
        ("model=misspelled", "misspelled"),
        ("limit=all", "limit: expected a whole number from 1, got 'all'"),
        ("limit=0", "limit: expected"),
        ("offset=-1", "offset: expected"),
        ("state=running&state=failed", "state: expected it once"),
    ],
)
def test_a_filter_that_cannot_be_is_not_left_out(job: BatchJob, query: str, said: str) -> None:
    told = ask("GET", "/api/runs/", query=query)
    assert told.status in (400, 404)
    assert said in told.json()["error"]
    assert ask("GET", "/api/runs/", query="state=running&limit=2000&offset=1").status == 200


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("/api/models/misspelt/try/", JSON, "multipart/form-data, got 'application/json'; parts: text"),
        ("/api/batches/", JSON, "expected multipart/form-data or application/x-www-form-urlencoded"),
        ("/api/runs/", {"Content-Type": "text/csv"}, "application/json, got 'text/csv'; see /api/docs/"),
        ("/api/runs/", {}, "expected application/json, got none"),
    ],
)  # fmt: skip
def test_another_type_of_body_is_told_which_is_taken(
    job: BatchJob, path: str, sent: dict[str, str], expected: str
) -> None:
    told = ask("POST", path, b"{}", sent)
    assert told.status == 415
    assert expected in told.json()["error"]


def test_outputs_that_could_not_be_written_are_not_computed(job: BatchJob, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.float32))
    words = ["infer", "misspelt", "--input", str(tmp_path / "x.npz"), "--output"]
    for output in (tmp_path / "missing" / "y.npz", tmp_path):
        with pytest.raises(CommandError, match="--output") as caught:
            call_command(*words, str(output))
        assert caught.value.returncode == 2
    assert not Run.objects.exists()


def test_a_run_that_failed_is_no_mistake_of_the_caller(job: BatchJob, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.float32))
    with pytest.raises(CommandError, match="no answer by the deadline") as caught:
        call_command("infer", "misspelt", "--input", str(tmp_path / "x.npz"), "--deadline", "0.1")
    assert caught.value.returncode == 1


def test_a_browser_that_does_not_exist_is_one_clear_line(database: None, settings: Any) -> None:
    with pytest.raises(CommandError, match="netscape") as caught:
        call_command("validate_faults", "--browsers", "netscape")
    assert caught.value.returncode == 2
