"""webpool as pip installs it: a wheel, a new environment, another folder; the checkout is not at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from browsers.lifeline import dies_with_parent
from tests.support import small_models
from tests.support.stack import free_port

ROOT = Path(__file__).parents[2]


class Installed:
    """A new environment with the wheel in it, used from a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.home = folder / "data" / "webpool"
        self._bin = folder / "environment" / "bin"
        wheels = folder / "wheels"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
        self._run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)])
        venv.create(self._bin.parent)
        self._link_required()
        (wheel,) = wheels.iterdir()
        there = [*pip, "--python", str(self._bin / "python")]
        self._run([*there, "install", "--no-deps", "--no-compile", str(wheel)])
        self._run([*there, "check"])  # what the wheel declares is there
        # npm's packages are 300 MB: those of the checkout are as good, and the step looks at each.
        node_modules = self.home / "tools" / "npm" / "node_modules"
        node_modules.parent.mkdir(parents=True)
        self.home.chmod(0o700)
        node_modules.symlink_to(ROOT / "node_modules")

    def _link_required(self) -> None:
        """What requirements.txt names, and nothing else, as it is installed here: nothing to unpack."""
        (site,) = self._bin.parent.glob("lib/python*/site-packages")
        for line in (ROOT / "requirements.txt").read_text().splitlines():
            if not line or line[0] == "#":
                continue
            required = Requirement(line)
            if required.marker and not required.marker.evaluate():
                continue
            here = metadata.distribution(required.name)
            for name in {file.parts[0] for file in here.files or ()} - {"..", "__pycache__"}:
                if not (link := site / name).exists():
                    link.symlink_to(Path(str(here.locate_file(name))))

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WEBPOOL_", "PYTHON"))}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        ours = {"XDG_DATA_HOME": str(self.folder / "data"), "PORT": str(self.port)}
        return {**kept, **ours, "WEBPOOL_BACKENDS": "wasm"}

    def webpool(self, *words: str) -> str:
        return self._run([str(self._bin / "webpool"), *words])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*dies_with_parent(), str(self._bin / "webpool"), "up", "--browsers", "firefox"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    made = Installed(tmp_path_factory.mktemp("wheel"))
    made.webpool("setup", "--only", "npm,database")
    pool = made.up()
    assert pool.stdout is not None
    try:
        said = []
        for line in pool.stdout:
            said.append(line)
            if "Ctrl-C stops everything" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield made
    finally:
        pool.terminate()
        pool.communicate(timeout=120)


def test_from_a_file_to_an_answer_and_a_page(installed: Installed) -> None:
    (installed.folder / "plus.onnx").write_bytes(small_models.identity("float32"))
    (installed.folder / "x.json").write_text('{"x": [1.5, -2.0, 0.25]}')

    added = installed.webpool("add-model", "plus.onnx", "--name", "plus")
    answer = json.loads(installed.webpool("infer", "plus", "--input", "x.json", "--json"))

    assert "plus" in added
    assert [output["first"] for output in answer["result"]] == [[1.5, -2.0, 0.25]]
    page = _get(installed, "/")
    style = _get(installed, "/static/inference/home.css")
    assert "webpool" in page and style
    # Everything it wrote is in the user's data folder.
    assert (installed.home / "db.sqlite3").exists()


def test_a_comparison_to_be_shown_to_others(installed: Installed) -> None:
    (installed.folder / "minus.onnx").write_bytes(small_models.identity("float32"))
    installed.webpool("add-model", "minus.onnx", "--name", "minus")

    files = ("--html", "minus.html", "--json", "minus.json")
    installed.webpool("compare", "minus", "--backends", "wasm", "--runs", "3", *files)

    (cell,) = json.loads((installed.folder / "minus.json").read_text())["cells"]
    assert (cell["browser"], cell["state"], len(cell["samples_ms"])) == ("firefox", "measured", 3)
    assert "<style>" in (installed.folder / "minus.html").read_text(), "it needs no server"


def test_the_light_client_comes_with_it(installed: Installed) -> None:
    program = "from webpool.client import Client; print(Client().ready())"
    url = f"http://127.0.0.1:{installed.port}"
    said = installed._run(
        ["env", f"WEBPOOL_URL={url}", str(installed._bin / "python"), "-c", program]
    )

    assert said == "True\n"


def test_it_names_itself_as_people_type_it(installed: Installed) -> None:
    doctor = subprocess.run(
        [str(installed._bin / "webpool"), "doctor"],
        cwd=installed.folder,
        env=installed.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert "manage.py" not in doctor.stdout + doctor.stderr
    assert "make " not in doctor.stdout + doctor.stderr


def _get(installed: Installed, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.port}{path}", timeout=60) as answer:
        return str(answer.read(), "utf-8")
