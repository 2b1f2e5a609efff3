"""`webpool completion`: a real shell completes what is typed."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = io.StringIO()
    call_command("completion", "bash", stdout=out)
    path = tmp_path_factory.mktemp("completion") / "webpool.bash"
    path.write_text(out.getvalue())
    return path


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("webpool add-", {"add-model", "add-sample"}),
        ("webpool compare minilm --back", {"--backends"}),
        ("webpool add-model x.onnx --type vis", {"vision"}),
        ("webpool infer minilm --platform web", {"webgpu", "webnn"}),
        ("webpool add-model webp", {"webpool.bash"}),
        ("webpool compare minilm --html webp", {"webpool.bash"}),
    ],
)
def test_bash_completes(script: Path, typed: str, completed: set[str]) -> None:
    words = typed.split()
    program = (
        f"cd {script.parent}; . {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
        'eval "$(complete -p webpool | sed "s/.*-F \\([^ ]*\\) .*/\\1/")"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed, done.stderr
