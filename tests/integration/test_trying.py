"""A model tried: through its page, over REST, and by the code that the page offers, run as it is."""

from __future__ import annotations

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from selenium.webdriver.common.by import By

from tests.support import small_models
from tests.support.doors import multipart, send, upload, wait_for
from tests.support.foreign_page import foreign_page
from tests.support.shared import ROOT
from tests.support.stack import RunningStack
from tests.support.visitor import visitor
from webpool_site.setup.node import find_node

LABELS = ["red", "green", "blue"]
DECLARED = {
    "inputs": {"pixels": {"image": {"width": 4, "height": 4}}},
    "outputs": {"scores": {"labels": LABELS}, "copy": {"image": {}}},
}


def loudest(path: Path) -> Path:
    """A sound's largest sample."""
    sound = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["batch", "samples"])
    peak = helper.make_tensor_value_info("peak", TensorProto.FLOAT, ["batch"])
    node = helper.make_node("ReduceMax", ["sound"], ["peak"], axes=[1], keepdims=0)
    graph = helper.make_graph([node], "loudest", [sound], [peak])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def folder(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the files are; models `colours` (webpool.json beside it), `loud` and `bare` are registered."""
    made = tmp_path_factory.mktemp("trying")
    (made / "colours.onnx").write_bytes(small_models.means_of_channels())
    (made / "webpool.json").write_text(json.dumps(DECLARED))
    stack.manage("add_model", str(made / "colours.onnx"))
    (made / "sound.json").write_text(json.dumps({"inputs": {"sound": {"sound": {"rate": 8000}}}}))
    sound = loudest(made / "loud.onnx")
    assert upload(stack, sound, "loud", expectations=made / "sound.json").status == 201
    assert upload(stack, sound, "bare").status == 201
    Image.new("RGB", (8, 6), (51, 255, 102)).save(made / "picture.jpg", quality=100)
    with wave.open(str(made / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([0, 8192, -100], "<i2").tobytes())
    yield made


@pytest.fixture(scope="module")
def person(stack: RunningStack) -> OpenerDirector:
    """Somebody who is logged in."""
    script = (
        "from django.contrib.auth.models import User;"
        "User.objects.filter(username='trier').delete();"
        "User.objects.create_superuser('trier', password='long enough a phrase')"
    )
    stack.manage("shell", "-c", script)
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    login = f"{stack.url}/admin/login/"
    body, kind = multipart(
        {
            "username": "trier",
            "password": "long enough a phrase",
            "csrfmiddlewaretoken": token_of(opener.open(login).read().decode()),
        },
        [],
    )
    opener.open(Request(login, body, {**kind, "Referer": login}))
    return opener


def token_of(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found
    return found[1]


def tried(
    stack: RunningStack, person: OpenerDirector, model: str, fields: dict[str, str], **files: Path
) -> str:
    """The page after its form was sent."""
    address = f"{stack.url}/admin/try/{model}/"
    token = token_of(person.open(address).read().decode())
    body, kind = multipart({**fields, "csrfmiddlewaretoken": token}, list(files.items()))
    page: str = person.open(Request(address, body, {**kind, "Referer": address})).read().decode()
    return page


def code_of(page: str, language: str) -> str:
    found = re.search(rf'id="code-{language}"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert found, page[-3000:]
    return html.unescape(found[1])


def run_code(language: str, code: str, folder: Path) -> str:
    """Run it as somebody who pasted it would; `webpool.client` is what the wheel has under that name."""
    package = folder / "package" / "webpool"
    if not package.exists():
        shutil.copytree(ROOT / "inference" / "remote", package / "client")
    node = find_node()
    assert node
    command = {
        "python": [sys.executable, "-c", code],
        "curl": ["bash", "-euc", code],
        "javascript": [str(node.program), "--input-type=module", "-e", code],
    }[language]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, code + done.stdout + done.stderr
    return done.stdout


def test_a_text_is_typed(stack: RunningStack, person: OpenerDirector, folder: Path) -> None:
    fields = {"text": 'A "quoted" cat\'s nap', "strategy": "layer", "shards": "2"}
    page = tried(stack, person, "minilm", fields)

    assert "sentence_embedding" in page and "<svg" in page
    assert page.count("<td>shard ") == 2
    answer = json.loads(run_code("curl", code_of(page, "curl"), folder))
    embedding = next(one for one in answer["outputs"] if one["name"] == "sentence_embedding")
    assert len(embedding["rows"][0]) == 384
    assert [shard["index"] for shard in answer["shards"]] == [0, 1], "the options are in the code"
    said = run_code("python", code_of(page, "python"), folder)
    assert f"{embedding['rows'][0][0]:.3f}"[:5] in said
    logged = run_code("javascript", code_of(page, "javascript"), folder)
    assert "cat's nap\"" in code_of(page, "javascript")
    assert "'sentence_embedding'" in logged and "shape: [ 1, 384 ]" in logged


def test_an_example_is_run_by_a_click(
    stack: RunningStack, person: OpenerDirector, folder: Path
) -> None:
    page = person.open(f"{stack.url}/admin/try/minilm/").read().decode()
    offered = re.findall(r'<button name="example" value="([^"]+)"', page)
    assert "A cat sleeps on the warm windowsill." in offered
    answered = tried(stack, person, "minilm", {"text": "unsent", "example": offered[0]})
    assert f'rows="4">{offered[0]}</textarea>' in answered
    assert "sentence_embedding" in answered


def test_a_picture_is_dropped(
    stack: RunningStack, person: OpenerDirector, folder: Path, tmp_path: Path
) -> None:
    page = tried(stack, person, "colours", {}, pixels=folder / "picture.jpg")

    shown = re.findall(r"<li><span>(\w+)</span>", page)
    assert shown == ["green", "blue", "red"]
    assert 'src="data:image/png;base64,' in page
    answer = json.loads(run_code("curl", code_of(page, "curl"), folder))
    scores = next(one for one in answer["outputs"] if one["name"] == "scores")["rows"][0]
    assert [one["value"] for one in scores] == pytest.approx([1.0, 0.4, 0.2], abs=0.02)
    assert "'label': 'green'" in run_code("python", code_of(page, "python"), folder)
    with foreign_page(code_of(page, "javascript")) as address, visitor(tmp_path) as browser:
        browser.get(address)
        chosen = browser.find_element(By.CSS_SELECTOR, "input")
        chosen.send_keys(str(folder / "picture.jpg"))
        browser.find_element(By.CSS_SELECTOR, "button").click()
        said = browser.find_element(By.CSS_SELECTOR, "pre")
        outputs, shards = json.loads(wait_for(lambda: said.text))
    (again,) = (one for one in outputs if one["name"] == "scores")
    assert [one["label"] for one in again["rows"][0]] == shown
    assert shards[0]["browser"]


def test_its_normalisation_can_be_edited(
    stack: RunningStack, person: OpenerDirector, folder: Path
) -> None:
    edited = {"pixels.mean": "1, 1, 1", "pixels.std": "0.5", "pixels.width": "2"}
    page = tried(stack, person, "colours", edited, pixels=folder / "picture.jpg")
    assert "[1, 3, 4, 2]" in page
    assert 'name="pixels.mean" value="1, 1, 1"' in page
    answer = json.loads(run_code("curl", code_of(page, "curl"), folder))
    assert next(one for one in answer["outputs"] if one["name"] == "copy")["shape"] == [1, 3, 4, 2]
    assert "copy image" in run_code("python", code_of(page, "python"), folder)
    wrong = tried(stack, person, "colours", {"pixels.std": "0"}, pixels=folder / "picture.jpg")
    assert "pixels.std: expected no 0" in html.unescape(wrong)


def test_a_sound_is_dropped(stack: RunningStack, person: OpenerDirector, folder: Path) -> None:
    page = tried(stack, person, "loud", {}, sound=folder / "sound.wav")
    assert "0.25" in page
    answer = json.loads(run_code("curl", code_of(page, "curl"), folder))
    assert answer["outputs"][0]["first"] == [0.25]


def test_tensors_are_pasted(stack: RunningStack, person: OpenerDirector, folder: Path) -> None:
    page = tried(stack, person, "bare", {"tensors": '{"sound": [[0.5, 0.75]]}'})
    assert "0.75" in page
    answer = json.loads(run_code("curl", code_of(page, "curl"), folder))
    assert answer["outputs"][0]["data"] == [0.75]
    assert "peak (1,) [0.75]" in run_code("python", code_of(page, "python"), folder)
    assert "data: [ 0.75 ]" in run_code("javascript", code_of(page, "javascript"), folder)

    file = io.BytesIO()
    np.savez(file, sound=np.array([[0.5, 0.875]], np.float32))
    (folder / "x.npz").write_bytes(file.getvalue())
    assert "0.875" in tried(stack, person, "bare", {}, tensors=folder / "x.npz")


@pytest.mark.parametrize(
    ("model", "fields", "says"),
    [
        ("minilm", {}, "text: expected a text"),
        ("colours", {}, "pixels: expected a picture, got nothing"),
        ("bare", {"tensors": '{"nosuch": [1]}'}, "nosuch"),
        ("minilm", {"text": "a", "platform": "cuda"}, "platform: expected one of"),
        ("minilm", {"text": "a", "platfrom": "wasm"}, "unknown part 'platfrom'; expected some of"),
    ],
)
def test_what_is_wrong_is_said(
    stack: RunningStack, folder: Path, model: str, fields: dict[str, str], says: str
) -> None:
    body, kind = multipart(fields or {"browsers": ""}, [])
    answer = send(stack, "POST", f"/api/models/{model}/try/", body, kind)
    assert (answer.status, answer.json()["category"]) == (400, "invalid_input")
    assert says in answer.json()["error"]


def test_a_model_whose_expectations_are_wrong_is_not_kept(
    stack: RunningStack, folder: Path
) -> None:
    wrong: dict[str, Any] = {"inputs": {"nosuch": {"sound": {"rate": 8000}}}}
    (folder / "wrong.json").write_text(json.dumps(wrong))
    body, kind = multipart(
        {"name": "refused"},
        [("file", folder / "loud.onnx"), ("expectations", folder / "wrong.json")],
    )
    answer = send(stack, "POST", "/api/models/", body, kind)
    assert answer.status == 400 and "inputs.nosuch: the model has no such input" in str(answer.body)
    with pytest.raises(HTTPError, match="404"):
        stack.get("/api/models/refused/")
