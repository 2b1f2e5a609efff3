"""A process tree that is looked at again and again, with real processes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from browsers.processes import tree
from browsers.processes.lookout import Lookout

_PROCESS = re.compile(r"/proc/(\d+)/")
_opened: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


sys.addaudithook(_note)


@pytest.fixture
def root() -> Iterator[psutil.Popen]:
    """A shell that leads a session and does what it is told, line by line."""
    shell = psutil.Popen(
        ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield shell
    for process in tree(psutil.Process(shell.pid)):
        process.kill()
    shell.communicate()


def tell(shell: psutil.Popen, line: str) -> int:
    """Have it run a line that prints a process id."""
    assert shell.stdin and shell.stdout
    shell.stdin.write(f"{line}\n")
    shell.stdin.flush()
    return int(shell.stdout.readline())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_came_and_went_since_the_last_look_is_seen(root: psutil.Popen) -> None:
    lookout = Lookout(psutil.Process(root.pid))

    def seen() -> list[int]:
        return sorted(each.process.pid for each in lookout.look())

    assert seen() == [root.pid]
    child = tell(root, "sleep 600 & echo $!")
    adopted = tell(root, "(sleep 600 & echo $!)")
    until(lambda: psutil.Process(adopted).ppid() != root.pid)
    until(
        lambda: seen() == sorted([root.pid, child, adopted])
    )  # the shell between may end just now
    psutil.Process(child).kill()
    until(lambda: child not in seen())
    until(lambda: seen() == sorted([root.pid, adopted]))


def test_a_look_reads_nothing_of_other_processes(root: psutil.Popen) -> None:
    global _opened
    lookout = Lookout(psutil.Process(root.pid))
    child = tell(root, "sleep 600 & echo $!")
    lookout.look()
    others = subprocess.Popen(["sleep", "600"])
    try:
        lookout.look()  # now it knows that this one is none of it
        _opened = []
        lookout.look()
        read = {int(found[1]) for path in _opened if (found := _PROCESS.match(path))}
    finally:
        _opened = None
        others.kill()
        others.wait()
    assert {root.pid, child} <= read
    assert others.pid not in read
    assert len(read) < len(psutil.pids()) / 2
