"""The admin of the running stack, as a person uses it."""

from __future__ import annotations

import json
import re
import time
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pytest

from tests.support import ensembles, small_models
from tests.support.doors import JSON, ended, multipart, send, wait_for
from tests.support.stack import RunningStack


@pytest.fixture
def person(stack: RunningStack) -> OpenerDirector:
    """Somebody who has logged in to the admin, with cookies."""
    script = (
        "from django.contrib.auth.models import User;"
        "User.objects.filter(username='tester').delete();"
        "User.objects.create_superuser('tester', password='long enough a phrase')"
    )
    stack.manage("shell", "-c", script)
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    login = f"{stack.url}/admin/login/"
    page = opener.open(login).read().decode()
    form = {
        "username": "tester",
        "password": "long enough a phrase",
        "csrfmiddlewaretoken": token_of(page),
        "next": "/admin/",
    }
    assert "The pool" in opener.open(login, urlencode(form).encode()).read().decode()
    return opener


def token_of(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found
    return found[1]


def test_the_admin_shows_the_pool_and_a_runs_time_line(
    stack: RunningStack, person: OpenerDirector
) -> None:
    wanted = {"model": "minilm", "texts": ["a line"], "strategy": "layer", "shards": 2}
    run_id = send(stack, "POST", "/api/runs/", json.dumps(wanted), JSON).json()["id"]
    assert wait_for(lambda: ended(stack, run_id)) == "succeeded"

    def look(path: str) -> str:
        page: str = person.open(f"{stack.url}/admin/{path}").read().decode()
        return page

    first = look("")
    browsers = [row["id"] for row in stack.browser_rows()]
    for browser in browsers:
        assert f"/admin/browsers/browser/{browser}/change/" in first
        assert "s ago" in look(f"browsers/browser/{browser}/change/")
    page = look(f"inference/run/{run_id}/change/")
    rows = {shard["browser"] for shard in stack.get(f"/api/runs/{run_id}/")["metrics"]["shards"]}
    assert page.count('class="tl-track') == 2
    assert page.count("tl-bar tl-compute") == 2
    assert all(browser in page for browser in rows)
    for path in ("onnxmodel", "plan", "run", "runstep", "attempt", "apikey"):
        assert look(f"inference/{path}/")
    assert "Forget old runs" in look("django_celery_beat/periodictask/")


def test_a_person_makes_an_api_key(stack: RunningStack, person: OpenerDirector) -> None:
    add = f"{stack.url}/admin/inference/apikey/add/"
    token = token_of(person.open(add).read().decode())
    form = {"csrfmiddlewaretoken": token, "name": f"k{time.time_ns()}", "active": "on"}
    page = person.open(add, urlencode(form).encode()).read().decode()
    key = re.search(r"wp_[\w-]{43}", page)
    assert key
    allowed = send(stack, "GET", "/api/models/", headers={"Authorization": f"Bearer {key[0]}"})
    assert allowed.status == 200


def test_a_person_registers_a_model_and_deletes_it(
    stack: RunningStack, person: OpenerDirector, tmp_path: Path
) -> None:
    path = tmp_path / "by-hand.onnx"
    path.write_bytes(small_models.block(seed=11))
    name = f"by-hand-{time.time_ns()}"

    def fill_in(file: Path) -> str:
        add = f"{stack.url}/admin/inference/onnxmodel/add/"
        token = token_of(person.open(add).read().decode())
        fields = {"csrfmiddlewaretoken": token, "name": name, "model_type": "other"}
        page: str = person.open(Request(add, *multipart(fields, [("file", file)]))).read().decode()
        return page

    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    assert "junk.onnx" in fill_in(junk)
    assert send(stack, "GET", f"/api/models/{name}/").status == 404

    assert name in fill_in(path)
    made = stack.get(f"/api/models/{name}/")
    stored = stack.home / "files" / made["sha256"]
    assert stored.stat().st_size == made["file_bytes"]

    listed = person.open(f"{stack.url}/admin/inference/onnxmodel/?q={name}").read().decode()
    key = re.search(r"/admin/inference/onnxmodel/(\d+)/change/", listed)
    assert key
    delete = f"{stack.url}/admin/inference/onnxmodel/{key[1]}/delete/"
    asked = person.open(delete).read().decode()
    assert "0 plans, 0 runs" in asked
    form = {"csrfmiddlewaretoken": token_of(asked), "post": "yes"}
    person.open(delete, urlencode(form).encode()).read()
    assert send(stack, "GET", f"/api/models/{name}/").status == 404
    assert not stored.exists()


def test_a_person_registers_a_model_of_several_files(
    stack: RunningStack, person: OpenerDirector, tmp_path: Path
) -> None:
    path = ensembles.diamond(tmp_path / "files")
    name = f"several-{time.time_ns()}"

    def fill_in(*files: str) -> str:
        add = f"{stack.url}/admin/inference/onnxmodel/add/"
        token = token_of(person.open(add).read().decode())
        fields = {"csrfmiddlewaretoken": token, "name": name, "model_type": "multimodal"}
        sent = [("manifest", path), *(("components", path.parent / file) for file in files)]
        page: str = person.open(Request(add, *multipart(fields, sent))).read().decode()
        return page

    assert "is neither a file beside the manifest" in fill_in("text.onnx", "image.onnx")
    assert send(stack, "GET", f"/api/models/{name}/").status == 404
    assert name in fill_in("text.onnx", "image.onnx", "fusion.onnx")
    listed = person.open(f"{stack.url}/admin/inference/onnxmodel/?q={name}").read().decode()
    key = re.search(r"/admin/inference/onnxmodel/(\d+)/change/", listed)
    assert key
    shown = person.open(f"{stack.url}/admin/inference/onnxmodel/{key[1]}/change/").read().decode()
    assert "a ← text_pooled, b ← pooled" in shown
    assert "text, image</td>" in shown
    assert send(stack, "DELETE", f"/api/models/{name}/").status == 204
