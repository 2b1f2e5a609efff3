"""How the suite is shared by several processes, on small suites that are really run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import ROOT
from tests.support.suite import progress
from tests.support.suite.units import Measured, Place, arrange, left_s, measured

ENV = {"CI": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
NOTES = """
import os, time
from pathlib import Path
import pytest

NOTES = Path(__file__).with_name("notes")

def note(name, seconds):
    began = time.monotonic()
    time.sleep(seconds)
    with NOTES.open("a") as notes:
        notes.write(f"{name} {os.getpid()} {began} {time.monotonic()}\\n")
"""


class Note:
    """A test of a small suite: the process that ran it, and from when to when."""

    def __init__(self, line: str) -> None:
        self.name, pid, began, ended = line.split()
        self.pid, self.began, self.ended = int(pid), float(began), float(ended)


def run(folder: Path, files: dict[str, str], *args: str) -> tuple[str, list[Note]]:
    """A suite of these files, run by two processes; returns what was printed, and what was run."""
    (folder / "conftest.py").write_text(NOTES)
    for name, text in files.items():
        (folder / name).write_text(f"from conftest import *\n{text}")
    table = folder / "durations.json"
    command = ["-c", os.devnull, "-p", "xdist", "-p", "tests.support.suite.plugin", "-n2", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command, "--durations-table", table, *args, str(folder)],
        cwd=ROOT, env={**os.environ, **ENV}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    notes = folder / "notes"
    lines = notes.read_text().splitlines() if notes.exists() else []
    return done.stdout + done.stderr, [Note(line) for line in lines]


def test_processes_that_find_different_tests_end_with_the_difference(tmp_path: Path) -> None:
    name = "os.environ['PYTEST_XDIST_WORKER']"
    said, notes = run(
        tmp_path, {"test_a.py": f"@pytest.mark.parametrize('w', [{name}])\ndef test_1(w): pass\n"}
    )
    assert "Different tests were collected" in said
    assert not notes


def test_the_tests_on_the_shared_pool_are_run_by_one_process_and_a_file_stays_together(
    tmp_path: Path,
) -> None:
    fixture = "@pytest.fixture\ndef stack(): pass\n"
    sharing = (
        fixture + "def test_it(stack): note('sharing', 0.1)\ndef test_too(): note('sharing', 0)"
    )
    other = "@pytest.mark.parametrize('n', range(8))\ndef test_it(n): note('{}', 0.1)"
    other_pool = sharing.replace("stack", "pair").replace("sharing", "another")
    files = {f"test_{n}.py": other.format(n) for n in "abc"} | {
        "test_v.py": sharing,
        "test_w.py": other_pool,
        "test_x.py": sharing,
        "test_y.py": other_pool,
    }
    told, notes = run(tmp_path, files)
    assert "32 passed" in told
    processes: dict[str, set[int]] = {}
    for note in notes:
        processes.setdefault(note.name, set()).add(note.pid)
    assert {len(pids) for pids in processes.values()} == {1}
    for name in ("sharing", "another"):  # one file after the other, and no other test between them
        of_it = sorted((note for note in notes if note.name == name), key=lambda note: note.began)
        between = [
            note
            for note in notes
            if note.pid == of_it[0].pid and of_it[0].began < note.began < of_it[-1].began
        ]
        assert {note.name for note in between} == {name}
    assert len({note.pid for note in notes}) == 2


def test_what_takes_longest_begins_first(tmp_path: Path) -> None:
    files = {f"test_{n}.py": f"def test_it(): note('{n}', 0.2)" for n in "abcd"}
    table = {
        f"test_{n}.py": {"tests": 1, "seconds": s}
        for n, s in zip("abcd", (1, 9, 3, 7), strict=True)
    }
    (tmp_path / "durations.json").write_text(json.dumps(table))
    told, notes = run(tmp_path, files, f"--rootdir={tmp_path}")
    assert "4 passed" in told
    orders: dict[int, str] = {}
    for note in notes:
        orders[note.pid] = orders.get(note.pid, "") + note.name
    assert set(orders.values()) == {"ba", "dc"}


def test_what_must_be_alone_is_run_last_while_nothing_else_runs(tmp_path: Path) -> None:
    alone = "@pytest.mark.alone('measures the machine')\ndef test_it(): note('alone', 0.3)\n"
    other = "@pytest.mark.parametrize('n', range(4))\ndef test_too(n): note('other', 0.2)"
    told, notes = run(
        tmp_path, {"test_a.py": alone + other, "test_b.py": other, "test_c.py": alone}
    )
    assert "10 passed" in told
    by_itself = [note for note in notes if note.name == "alone"]
    others = [note for note in notes if note.name == "other"]
    assert len(by_itself) == 2
    assert min(note.began for note in by_itself) >= max(note.ended for note in others)


def test_the_first_failure_is_told_before_the_other_tests_end(tmp_path: Path) -> None:
    failing = "def test_it():\n    assert 6 * 7 == 41, 'the question'"
    files = {"test_a.py": failing, "test_b.py": "def test_it(): note('b', 1)"}
    told, _ = run(tmp_path, files)
    at_once, _, summary = told.partition("=== FAILURES")
    assert "\nfailure 1: " in at_once and "AssertionError: the question" in at_once
    assert "AssertionError: the question" in summary and "\nFAILED " in summary
    assert told.rstrip().splitlines()[-1].startswith("1 failed, 1 passed")


def test_of_what_is_not_written_no_percentage_is_told(tmp_path: Path) -> None:
    told, _ = run(
        tmp_path, {"test_a.py": "@pytest.mark.skip\ndef test_it(): pass\ndef test_2(): pass"}
    )
    assert "1 passed, 1 skipped" in told
    assert "%]" not in told


def test_a_worker_that_dies_costs_its_test_and_the_rest_is_run(tmp_path: Path) -> None:
    dying = "def test_a(): note('a', 0)\ndef test_b(): os._exit(3)\ndef test_c(): note('c', 0)"
    told, notes = run(tmp_path, {"test_x.py": dying, "test_y.py": "def test_d(): note('d', 0)"})
    assert "1 failed, 3 passed" in told
    assert {note.name for note in notes} == {"a", "c", "d"}


def test_what_each_file_took_can_be_recorded(tmp_path: Path) -> None:
    files = {"test_a.py": "def test_it(): note('a', 1.2)\ndef test_too(): note('a', 0)"}
    run(tmp_path, files, "--record-durations", f"--rootdir={tmp_path}")
    recorded = json.loads((tmp_path / "durations.json").read_text())["test_a.py"]
    assert recorded["tests"] == 2
    assert 1.2 <= recorded["seconds"] < 10


def test_units_are_ordered_by_what_their_files_took() -> None:
    tests = ["a.py::one", "b.py::one", "b.py::two", "c.py::one"]
    places = {test: Place(test.partition("::")[0], test == "c.py::one") for test in tests}
    durations = {"a.py": Measured(1, 5.0), "b.py": Measured(4, 16.0)}
    found = [(unit.name, unit.seconds, unit.alone) for unit in arrange(tests, places, durations)]
    assert found == [("b.py", 8.0, False), ("a.py", 5.0, False), ("c.py", 1.0, True)]


@pytest.mark.parametrize(
    ("busy", "waiting", "expected"),
    [([], [], 0.0), ([3.0, 5.0], [], 5.0), ([3.0, 5.0], [4.0], 7.0), ([0.0, 0.0], [6, 5, 4], 9.0)],
)
def test_the_time_left_is_when_the_last_worker_ends(
    busy: list[float], waiting: list[float], expected: float
) -> None:
    assert left_s(busy, waiting) == expected


def test_what_tests_took_is_added_up_by_file() -> None:
    assert measured({"a.py::one": 1.0, "a.py::two[x::y]": 2.0, "b.py::one": 0.5}) == {
        "a.py": Measured(2, 3.0),
        "b.py": Measured(1, 0.5),
    }


@pytest.mark.parametrize(
    ("failed", "left", "expected"),
    [
        (0, 540.0, "4:05  312 of 2010 tests, none failed; about 18 min left"),
        (2, 20.0, "4:05  312 of 2010 tests, 2 FAILED; about a minute left"),
    ],
)
def test_a_line_of_progress(failed: int, left: float, expected: str) -> None:
    told = progress.line(elapsed_s=245, done=312, of=2010, failed=failed, left_s=left, slow=2.0)
    assert told == expected
