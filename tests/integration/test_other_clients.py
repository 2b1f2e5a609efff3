"""/v1/ of a running pool, asked by langchain-openai, litellm and llama-index, unmodified.

They are installed for it, into an environment of their own, which is kept in var/.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from inference.core.generation.asked import Asked
from tests.support import decoders
from tests.support.shared import ROOT
from tests.support.stack import RunningStack

pytestmark = pytest.mark.soak("a hundred packages are installed for it")
PINNED = ROOT / "tests" / "support" / "clients.txt"
SCRIPTS = ROOT / "tests" / "support" / "scripts"
WRITER, CALLER = "clients-writer", "clients-caller"
CHAT = "<|start|>user\nHello, pool!<|end|>\n<|start|>assistant\n"
COUNT = 12
TURNS = ([["turn", {"side": "left"}]], [["turn", {"side": "right"}]])


@pytest.fixture(scope="module")
def python() -> Path:
    """Of an environment with what is pinned, and nothing else."""
    name = hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]
    folder = ROOT / "var" / f"clients-{name}"
    found = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, clear=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(found),
            "--disable-pip-version-check",
            "-qq",
        ]
        subprocess.run([*pip, "install", "--no-deps", "-r", str(PINNED)], check=True, timeout=900)
        subprocess.run([*pip, "check"], check=True, timeout=300)
        done.touch()
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> decoders.Written:
    return decoders.write(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def environment(pair: RunningStack, files: decoders.Written) -> Mapping[str, str]:
    """What tells the scripts where the pool is."""
    pair.manage("add_sample")
    for name, template in ((WRITER, decoders.CHAT_TEMPLATE), (CALLER, decoders.CALLING)):
        pair.manage("shell", "-v0", "-c", decoders.registered(files, name, template))
    words = pair.manage("create_api_key", f"clients-{os.getpid()}").stdout.split()
    key = next(word for word in words if word.startswith("wp_"))
    ours = {"DOOR": f"{pair.url}/v1", "KEY": key, "WRITER": WRITER, "CALLER": CALLER}
    # litellm looks its prices up elsewhere, unless it is told not to.
    return {**os.environ, **ours, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def right(files: decoders.Written, prompt: str) -> str:
    """The uncut decoder's likeliest text."""
    tokens = decoders.uncut(
        files.onnx, Asked(tuple(decoders.tokenizer().encode(prompt).ids), COUNT)
    )
    text: str = Tokenizer.from_file(str(files.tokenizer)).decode(tokens)
    return text


def told(python: Path, environment: Mapping[str, str], script: str) -> Any:
    done = subprocess.run(
        [str(python), str(SCRIPTS / script)],
        env=dict(environment), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_thing(found: Any) -> None:
    assert found["kind"] in ("round", "square")
    assert found["heavy"] in (True, False)


def test_langchain(python: Path, environment: Mapping[str, str], files: decoders.Written) -> None:
    found = told(python, environment, "client_langchain.py")
    text = right(files, CHAT)
    assert (found["text"], found["streamed"], found["batch"]) == (text, text, [text, text])
    assert (found["tokens"], sum(found["streamed tokens"])) == (COUNT, COUNT)
    assert found["completed"] == right(files, "Hello, pool!")
    assert found["spoken"] and found["logprobs"] == 6
    assert_thing(found["thing"])
    assert found["called"] == found["called in a stream"]
    assert found["called"] in TURNS
    assert found["after"] == 5
    assert found["sizes"] == [384, 384]
    assert found["refused"] == ["service_tier", "messages[0].name"]


def test_litellm(python: Path, environment: Mapping[str, str], files: decoders.Written) -> None:
    found = told(python, environment, "client_litellm.py")
    text = right(files, CHAT)
    assert (found["text"], found["streamed"], found["apart"]) == (text, text, text)
    assert (found["tokens"], found["streamed tokens"]) == (COUNT, [COUNT])
    assert found["completed"] == right(files, "Hello, pool!")
    assert found["logprobs"] == COUNT
    assert_thing(found["thing"])
    assert found["finish"] == "tool_calls"
    assert found["called"] == found["called in a stream"]
    assert found["called"] in TURNS
    assert found["after"] == 5
    assert found["sizes"] == [384, 384]
    assert "service_tier" in found["refused"]


def test_llama_index(python: Path, environment: Mapping[str, str], files: decoders.Written) -> None:
    found = told(python, environment, "client_llama_index.py")
    text = right(files, CHAT)
    assert (found["text"], found["streamed"], found["apart"]) == (text, text, text)
    completed = right(files, "Hello, pool!")
    assert (found["completed"], found["continued"]) == (completed, completed)
    assert found["called"] in TURNS
    assert found["called in a stream"] in TURNS
    assert_thing(found["thing"])
    assert_thing(found["other"])
    assert found["sizes"] == [384, 384]
