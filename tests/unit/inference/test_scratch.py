"""Folders of what is being made: those of the dead are removed, those of the living never."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference.store.scratch import MADE, PART, UPLOAD, in_use, remove_abandoned, scratch

_UPLOADING = """
import sys, time
from pathlib import Path
from inference.store.scratch import scratch
with scratch(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "in.npz").write_bytes(bytes(2**16))
    print(folder, flush=True)
    time.sleep(600)
"""


def old(folder: Path) -> None:
    os.utime(folder, (time.time() - 60,) * 2)


@pytest.mark.parametrize(
    ("place", "prefix"),
    [("batches", UPLOAD), ("models", UPLOAD), (".", MADE), ("known_answers", MADE), ("batches/1", ".o.")],
)  # fmt: skip
def test_a_process_killed_in_the_middle_leaves_a_folder_until_the_next_look(
    tmp_path: Path, place: str, prefix: str
) -> None:
    command = [sys.executable, "-c", _UPLOADING, str(tmp_path / place), prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            old(folder)
            assert remove_abandoned(tmp_path) == [], "it works there"
            assert (folder / "in.npz").stat().st_size == 2**16
        finally:
            process.send_signal(signal.SIGKILL)
    assert (folder / "in.npz").exists(), "nobody cleaned up"
    assert remove_abandoned(tmp_path) == [folder]
    assert not folder.exists()


def test_what_is_there_for_good_stays(tmp_path: Path) -> None:
    job, part = tmp_path / "batches" / "1", tmp_path / "batches" / f"2{PART}"
    for folder in (job, part, tmp_path / "files"):
        folder.mkdir(parents=True)
        (folder / "in-000000.npz").write_bytes(b"x")
        old(folder)
    with in_use(part):
        assert remove_abandoned(tmp_path) == []
        part.rename(tmp_path / "batches" / "2")
    assert remove_abandoned(tmp_path) == []
    assert len([*tmp_path.rglob("in-*.npz")]) == 3


def test_one_that_was_made_just_now_is_left_alone(tmp_path: Path) -> None:
    with scratch(tmp_path / "batches", UPLOAD) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert remove_abandoned(tmp_path) == []
    young = tmp_path / "batches" / f"{UPLOAD}x"
    young.mkdir()
    assert remove_abandoned(tmp_path) == []
    old(young)
    assert remove_abandoned(tmp_path) == [young]
