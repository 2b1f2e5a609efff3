"""The fork server with real processes: what it forks is the supervisor's own, whatever becomes of either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from browsers.supervisor import (
    ProcessSpec,
    Restart,
    State,
    Supervisor,
    SupervisorError,
    can_fork,
    fork_server_argv,
)
from tests.integration.test_supervisor import Recorder, alive, wait_until

ROOT = Path(__file__).parents[2]
SCRIPTS = "tests.support.scripts"
WITHIN_S = 180.0

pytestmark = pytest.mark.skipif(
    not can_fork(), reason="this system cannot fork for another process"
)


def server(module: str = "imported_once", **more: Any) -> ProcessSpec:
    return ProcessSpec(
        "server", fork_server_argv(f"{SCRIPTS}.{module}"), cwd=ROOT, critical=True, fork_server=True, **more
    )  # fmt: skip


def forked(name: str, *arguments: str, **more: Any) -> ProcessSpec:
    argv = (sys.executable, "-m", f"{SCRIPTS}.forked", name, *arguments)
    quick = Restart(first_delay_s=0.01, give_up_after=3)
    return ProcessSpec(name, argv, cwd=ROOT, restart=quick, forked_by="server", **more)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def supervisor(tmp_path: Path, recorder: Recorder):
    supervisor = Supervisor(log_dir=tmp_path / "logs", run_dir=tmp_path / "run", listener=recorder)
    yield supervisor
    supervisor.stop(30)


def said(home: Path, name: str, times: int = 1) -> dict[str, Any]:
    """What the child told of itself the last time."""

    def lines() -> list[str]:
        text = (home / "logs" / f"{name}.log").read_text() if (home / "logs").exists() else ""
        return [line for line in text.splitlines() if line.startswith("{")]

    wait_until(lambda: len(lines()) >= times, WITHIN_S)
    found: dict[str, Any] = json.loads(lines()[-1])
    return found


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = next(child.pid for child in supervisor.status() if child.name == name)
    assert pid is not None
    return pid


def test_the_forked_are_as_if_they_had_been_started(supervisor, tmp_path):
    os.environ["COLOUR"] = "red"
    supervisor.start([server(), forked("a", "x y", env={"COLOUR": "blue"}), forked("b")])
    supervisor.wait_ready(WITHIN_S)
    a, b = said(tmp_path, "a"), said(tmp_path, "b")
    assert a["pid"] == a["thread"] == a["session"] == pid_of(supervisor, "a")
    assert a["parent"] == os.getpid(), "not the fork server, which may die"
    assert a["arguments"] == ["a", "x y"]
    assert a["name"] == "__main__"
    assert (a["colour"], b["colour"]) == ("blue", os.environ.pop("COLOUR"))
    assert a["folder"] == str(ROOT)
    assert a["umask"] == 0o077
    assert a["files"] == [0, 1, 2], "no socket and no other's log"
    assert a["token"] == b["token"]
    assert a["token"] is not None
    words = [word for word in psutil.Process(a["pid"]).cmdline() if word]
    assert words == [sys.executable, "-m", f"{SCRIPTS}.forked", "a", "x y"]
    assert psutil.Process(pid_of(supervisor, "server")).children() == []


def test_how_the_forked_end_is_known(supervisor, recorder, tmp_path):
    supervisor.start([server(), forked("7"), forked("a")])
    assert recorder.next("exit", "7", WITHIN_S)[0] == 7
    recorder.next("gave up", "7", WITHIN_S)
    first = said(tmp_path, "a")
    os.kill(first["pid"], signal.SIGKILL)
    assert recorder.next("exit", "a", WITHIN_S)[0] == -signal.SIGKILL
    again = said(tmp_path, "a", times=2)
    assert again["pid"] != first["pid"]
    assert again["token"] == first["token"], "nothing was imported again"
    supervisor.stop(60)
    assert not alive(again["pid"])
    assert not [child for child in psutil.Process().children() if not alive(child.pid)], "zombies"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_forked_outlive_the_fork_server(supervisor, recorder, tmp_path, number):
    supervisor.start([server(), forked("a"), forked("b")])
    supervisor.wait_ready(WITHIN_S)
    a, b = said(tmp_path, "a"), said(tmp_path, "b")
    # The death of one that it is asked to replace comes at the same time.
    os.kill(pid_of(supervisor, "server"), number)
    os.kill(a["pid"], signal.SIGKILL)
    recorder.next("exit", "server", WITHIN_S)
    replaced = said(tmp_path, "a", times=2)
    assert replaced["token"] != a["token"], "by another fork server"
    assert replaced["parent"] == os.getpid()
    assert pid_of(supervisor, "b") == b["pid"]
    assert alive(b["pid"])
    supervisor.wait_ready(WITHIN_S)
    states = {child.name: (child.state, child.failures) for child in supervisor.status()}
    assert states["b"] == (State.READY, 0)
    assert states["a"] == (State.READY, 1), "waiting for the fork server is no failure of its own"


def test_with_a_thread_there_is_no_fork_server(supervisor):
    quick = Restart(first_delay_s=0.01, give_up_after=2)
    supervisor.start([server("starts_a_thread", restart=quick), forked("a")])
    with pytest.raises(SupervisorError, match=r"there are 2 threads, expected one"):
        supervisor.wait_ready(WITHIN_S)
    assert supervisor.wait_stopped(WITHIN_S)


def test_what_no_fork_server_can_make_is_refused(supervisor):
    program = ProcessSpec("a", ("sleep", "9"), forked_by="server")
    with pytest.raises(SupervisorError, match=r"a cannot be forked: expected a module's command"):
        supervisor.start([server(), program])
    with pytest.raises(SupervisorError, match="b is to start after server, which is not there"):
        supervisor.start([forked("b")])


PRELOADED = """
import json, os, sys
from browsers.supervisor.sibling import threads
before = set(os.listdir("/proc/self/fd"))
import webpool_site.children.preload
from django.db import connections
print(json.dumps({
    "threads": threads(), "opened": sorted(set(os.listdir("/proc/self/fd")) - before),
    "connected": [one.alias for one in connections.all() if one.connection is not None],
    "onnxruntime": "onnxruntime" in sys.modules, "scipy": "scipy.stats" in sys.modules,
}))
"""


def test_what_the_pool_is_forked_from_holds_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PRELOADED], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "WEBPOOL_HOME": str(tmp_path / "home"), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert json.loads(done.stdout) == {
        "threads": 1, "opened": [], "connected": [], "onnxruntime": False, "scipy": False,
    }  # fmt: skip


STACK = """
import sys, time
from pathlib import Path
from browsers.supervisor import Supervisor
from tests.integration.test_fork_server import forked, server, WITHIN_S
home = Path(sys.argv[1])
supervisor = Supervisor(log_dir=home / "logs", run_dir=home / "run")
supervisor.start([server(), forked("a"), forked("b")])
supervisor.wait_ready(WITHIN_S)
print(*[child.pid for child in supervisor.status()], flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_supervisor_takes_the_forked_down(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", STACK, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 3
    # One that stands still ends, too.
    os.kill(pids[1], signal.SIGSTOP)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(alive(pid) for pid in pids))
