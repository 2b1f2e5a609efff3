"""What no door tells: the passwords of store and database while those are away, and the server's paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from inference.models import OnnxModel
from tests.support.asgi import ask
from tests.support.hostile import JSON, body_of
from tests.support.shared import ROOT, migrated
from tests.support.stack import free_port

SECRET = "pass3cret"
TELL_WITHOUT = ("REST, telemetry", "metrics")
ASKED = "tests.support.scripts.doors_without_store"


@pytest.fixture
def secret(settings: Any) -> str:
    """Where something of the server's lies, as its errors would say it; a caller makes them repeat it."""
    return f"{settings.WEBPOOL_HOME}/told.txt"


def test_no_door_for_programs_tells_a_path_of_the_server(
    asked_model: OnnxModel, secret: str
) -> None:
    name = asked_model.name
    entry = {"name": secret, "datatype": "FP32", "shape": [1], "data": [0.0]}
    asked: dict[str, Any] = {
        "/api/runs/": {"model": name, "inputs": {secret: [0.0]}},
        "/api/plans/": {"model": name, "strategy": secret},
        "/api/comparisons/": {"model": name, "inputs": {secret: [0.0]}},
        "/v2/models/" + name + "/infer": {"inputs": [entry]},
        "/v1/embeddings": {"model": secret, "input": "x"},
    }
    for path, document in asked.items():
        answered = ask("POST", path, body_of(document), JSON)
        told = answered.body.decode()
        assert answered.status in (400, 404), (path, told)
        assert "told.txt" in told and secret not in told, (path, told)


def test_no_form_of_the_admin_tells_a_path_of_the_server(
    staff: Client, asked_model: OnnxModel, secret: str
) -> None:
    name = asked_model.name

    def file(end: str) -> SimpleUploadedFile:
        return SimpleUploadedFile(f"mine.{end}", json.dumps({secret: [0.0]}).encode())

    forms: dict[str, Any] = {
        f"/admin/try/{name}/": {"tensors": file("json")},
        f"/admin/compare/{name}/": {"runs": "1", "file": file("json")},
        "/admin/inference/batchjob/add/": {"model": asked_model.pk, "file": file("jsonl")},
        "/admin/inference/onnxmodel/add/": {
            "name": "told", "model_type": "other", "manifest": file("json"),
        },
    }  # fmt: skip
    for path, form in forms.items():
        told = staff.post(path, form).content.decode()
        assert "told.txt" in told and secret not in told, path


@pytest.mark.parametrize("lost", ["store", "database"])
def test_no_door_tells_a_password_where_the_store_is_away(lost: str, tmp_path: Path) -> None:
    (tmp_path / "db.sqlite3").write_bytes(Path(migrated()).read_bytes())
    away = f"me:{SECRET}@127.0.0.1:{free_port()}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WEBPOOL_")},
        "DJANGO_SETTINGS_MODULE": "webpool_site.settings",
        "WEBPOOL_HOME": str(tmp_path),
        "WEBPOOL_REDIS_URL": f"redis://{away}/0",
    }
    if lost == "database":
        environment["WEBPOOL_DATABASE_URL"] = f"postgresql://{away}/ledger"
    asked = subprocess.run(
        [sys.executable, "-m", ASKED, lost],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    told = {name: tuple(said) for name, said in json.loads(asked.stdout).items()}
    assert SECRET not in asked.stdout + asked.stderr
    assert str(tmp_path) not in asked.stdout and str(ROOT) not in asked.stdout
    assert {"REST", "/v1", "/v2", "gRPC"} < {name.split(",")[0] for name in told}
    for name, (status, said) in told.items():
        if "page" in name or (lost == "store" and name in TELL_WITHOUT):
            continue  # they say what they do not know
        assert status == (14 if name.startswith("gRPC") else 503), (name, said)
