"""The supervisor with real processes: it restarts, gives up, stops in order and leaves nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from browsers.supervisor import (
    Listener,
    ProcessSpec,
    Restart,
    State,
    Supervisor,
    SupervisorError,
    reap_leftovers,
)

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"  # noqa: ISC004
    "print('deaf', flush=True); time.sleep(600)",
)


class Recorder(Listener):
    """Keeps what happened, with its time."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, str, object, float]] = queue.Queue()

    def _put(self, event: str, spec: ProcessSpec, value: object) -> None:
        self.events.put((event, spec.name, value, time.monotonic()))

    def on_started(self, spec: ProcessSpec, pid: int) -> None:
        self._put("started", spec, pid)

    def on_ready(self, spec: ProcessSpec, seconds: float) -> None:
        self._put("ready", spec, seconds)

    def on_exit(self, spec: ProcessSpec, returncode: int, *, expected: bool) -> None:
        self._put("expected exit" if expected else "exit", spec, returncode)

    def on_put_down(self, spec: ProcessSpec, why: str) -> None:
        self._put("put down", spec, why)

    def on_gave_up(self, spec: ProcessSpec, message: str) -> None:
        self._put("gave up", spec, message)

    def next(self, event: str, name: str, timeout_s: float = 40.0) -> tuple[object, float]:
        deadline = time.monotonic() + timeout_s
        while True:
            got = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            if got[:2] == (event, name):
                return got[2], got[3]

    def order(self) -> list[tuple[str, str]]:
        return [event[:2] for event in list(self.events.queue)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def supervisor(tmp_path: Path, recorder: Recorder):
    supervisor = Supervisor(log_dir=tmp_path / "logs", run_dir=tmp_path / "run", listener=recorder)
    yield supervisor
    supervisor.stop(5)


def test_a_killed_child_is_noticed_at_once_and_started_again(supervisor, recorder, tmp_path):
    supervisor.start([ProcessSpec("a", SLEEPER)])
    supervisor.wait_ready(40)
    pid, _ = recorder.next("started", "a")
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    returncode, noticed_at = recorder.next("exit", "a")
    assert returncode == -signal.SIGKILL
    print(f"SUPERVISOR noticed the exit after {noticed_at - killed_at:.3f} s")
    assert noticed_at - killed_at < 20.0  # some 10 ms on a machine that is not shared
    again, started_at = recorder.next("started", "a")
    assert again != pid
    assert started_at - killed_at < 30.0
    assert json.loads((tmp_path / "run" / "a.pid").read_text())["pid"] == again


def test_a_stopped_child_is_killed_with_what_it_started_and_replaced(
    supervisor, recorder, tmp_path
):
    script = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-S', '-c',"
        "'import time; time.sleep(600)']); print(child.pid, flush=True); time.sleep(600)"
    )
    supervisor.start([ProcessSpec("a", (sys.executable, "-S", "-c", script))])
    pid, _ = recorder.next("started", "a")
    log = tmp_path / "logs" / "a.log"
    wait_until(lambda: len(log.read_text().splitlines()) == 2)
    below = int(log.read_text().splitlines()[1])
    stopped_at = time.monotonic()
    os.kill(below, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    why, noticed_at = recorder.next("put down", "a")
    assert "SIGSTOP" in why
    print(f"SUPERVISOR put a stopped child down after {noticed_at - stopped_at:.2f} s")
    recorder.next("exit", "a")
    again, _ = recorder.next("started", "a")
    assert again != pid
    wait_until(lambda: not alive(below))


def test_a_child_that_goes_on_in_time_is_left_alone(supervisor, recorder):
    supervisor.start([ProcessSpec("a", SLEEPER, stopped_timeout_s=600)])
    pid, _ = recorder.next("started", "a")
    supervisor.wait_ready(40)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    assert recorder.order() == [("ready", "a")]


def test_a_child_without_a_sign_of_life_is_replaced(supervisor, recorder):
    ages: list[float | None] = [None, 1.0, 31.0]
    spec = ProcessSpec("a", SLEEPER, silent_s=lambda: ages[0], silent_timeout_s=30)
    supervisor.start([spec])
    pid, _ = recorder.next("started", "a")
    while len(ages) > 1:
        time.sleep(0.6)
        assert alive(pid)
        ages.pop(0)
    why, _ = recorder.next("put down", "a")
    assert why == "it showed no sign of life for 31 s"
    ages[0] = 0.0
    recorder.next("started", "a")


def test_what_a_dead_child_left_in_its_group_is_killed(supervisor, recorder, tmp_path):
    script = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-S', '-c',"
        "'import time; time.sleep(600)']); print(child.pid, flush=True); time.sleep(600)"
    )
    supervisor.start([ProcessSpec("a", (sys.executable, "-S", "-c", script))])
    pid, _ = recorder.next("started", "a")
    log = tmp_path / "logs" / "a.log"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    grandchild = int(log.read_text().splitlines()[1])
    os.kill(pid, signal.SIGKILL)
    recorder.next("exit", "a")
    wait_until(lambda: not alive(grandchild))


def test_children_start_after_what_they_need_and_stop_before_it(supervisor, recorder, tmp_path):
    flag = tmp_path / "flag"
    supervisor.start(
        [
            ProcessSpec("first", SLEEPER, ready=lambda pid: flag.exists()),
            ProcessSpec("second", SLEEPER, after=("first",)),
        ]
    )
    recorder.next("started", "first")
    time.sleep(0.3)
    assert [child.state for child in supervisor.status()] == [State.STARTING, State.WAITING]
    flag.touch()
    supervisor.wait_ready(40)
    supervisor.stop(40)
    exits = [name for event, name in recorder.order() if event == "expected exit"]
    assert exits == ["second", "first"]
    assert all(child.pid is None for child in supervisor.status())
    assert not list((tmp_path / "run").glob("*.pid"))


def test_a_child_deaf_to_the_stop_signal_is_killed_by_its_deadline(supervisor, recorder, tmp_path):
    supervisor.start([ProcessSpec("deaf", STUBBORN, stop_timeout_s=0.5)])
    pid, _ = recorder.next("started", "deaf")
    wait_until(lambda: "deaf" in (tmp_path / "logs" / "deaf.log").read_text().splitlines()[1:])
    began = time.monotonic()
    supervisor.stop(60)
    assert 0.4 < time.monotonic() - began < 20
    assert not alive(pid)


def test_a_critical_child_that_keeps_failing_ends_everything_with_its_own_words(
    supervisor, recorder
):
    failing = (sys.executable, "-S", "-c", "print('no such colour'); raise SystemExit(3)")
    policy = Restart(first_delay_s=0.01, give_up_after=3)
    supervisor.start(
        [
            ProcessSpec("other", SLEEPER),
            ProcessSpec("bad", failing, ready=lambda pid: False, restart=policy, critical=True),
        ]
    )
    with pytest.raises(SupervisorError, match=r"bad failed 3 times.*exit code 3(.|\n)*colour"):
        supervisor.wait_ready(40)
    assert supervisor.wait_stopped(40)
    assert {child.state for child in supervisor.status()} == {State.STOPPED, State.FAILED}
    recorder.next("gave up", "bad")


def test_a_critical_child_that_somebody_kills_again_and_again_comes_back(supervisor, recorder):
    policy = Restart(first_delay_s=0.01, give_up_after=3)
    supervisor.start([ProcessSpec("web", SLEEPER, restart=policy, critical=True)])
    for _ in range(5):
        supervisor.wait_ready(40)
        pid, _ = recorder.next("started", "web")
        os.kill(pid, signal.SIGKILL)
        recorder.next("exit", "web")
    supervisor.wait_ready(40)
    assert supervisor.failure is None
    assert supervisor.status()[0].failures == 1, "the delay starts from the first again"


def test_a_critical_child_that_has_worked_is_tried_for_ever(supervisor, recorder, tmp_path):
    """Its surroundings broke, and are mended by somebody."""
    broken = tmp_path / "broken"
    words = (
        "import pathlib, sys, time\nif pathlib.Path(sys.argv[1]).exists(): raise SystemExit(3)\n"
    )
    argv = (sys.executable, "-S", "-c", words + "time.sleep(600)", str(broken))
    policy = Restart(first_delay_s=0.01, max_delay_s=0.05, give_up_after=2)
    ready = lambda pid: not broken.exists()  # noqa: E731
    supervisor.start([ProcessSpec("web", argv, ready=ready, restart=policy, critical=True)])
    supervisor.wait_ready(40)
    broken.touch()
    pid, _ = recorder.next("started", "web")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: supervisor.status()[0].failures > 3)
    broken.unlink()
    supervisor.wait_ready(40)
    assert supervisor.failure is None


def test_a_critical_child_that_never_gets_ready_is_given_up(supervisor):
    policy = Restart(first_delay_s=0.01, give_up_after=2)
    stuck = ProcessSpec("stuck", SLEEPER, ready=lambda pid: False, start_timeout_s=0.2)
    supervisor.start([dataclasses.replace(stuck, restart=policy, critical=True)])
    with pytest.raises(SupervisorError, match="stuck failed 2 times in a row, last with SIGKILL"):
        supervisor.wait_ready(40)


def test_a_program_that_is_not_there_is_a_failure_like_any_other(supervisor):
    policy = Restart(first_delay_s=0.01, give_up_after=2)
    supervisor.start([ProcessSpec("none", ("/no/such/program",), restart=policy)])
    supervisor.wait_stopped(1)
    wait_until(lambda: supervisor.status()[0].state is State.FAILED)
    with pytest.raises(SupervisorError, match=r"not found|No such file"):
        supervisor.wait_ready(1)


def test_a_child_that_never_gets_ready_is_killed_and_tried_again(supervisor, recorder):
    supervisor.start([ProcessSpec("slow", SLEEPER, ready=lambda pid: False, start_timeout_s=0.3)])
    recorder.next("started", "slow")
    returncode, _ = recorder.next("exit", "slow")
    assert returncode == -signal.SIGKILL
    recorder.next("started", "slow")
    with pytest.raises(SupervisorError, match=r"not ready within 0 s: slow"):
        supervisor.wait_ready(0.1)


def test_a_child_can_be_restarted_removed_and_added(supervisor, recorder):
    supervisor.start([ProcessSpec("a", SLEEPER)])
    first, _ = recorder.next("started", "a")
    supervisor.restart("a")
    recorder.next("expected exit", "a")
    second, _ = recorder.next("started", "a")
    assert first != second
    supervisor.remove("a")
    recorder.next("expected exit", "a")
    wait_until(lambda: supervisor.status()[0].state is State.STOPPED)
    supervisor.add(ProcessSpec("b", SLEEPER))
    recorder.next("started", "b")
    with pytest.raises(SupervisorError, match="no process named 'c'"):
        supervisor.restart("c")


def test_restarts_back_off_and_recover():
    policy = Restart(first_delay_s=0.1, factor=2, max_delay_s=1)
    assert [policy.delay_s(n) for n in (1, 2, 3, 4, 5, 500)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert not policy.gives_up(1_000)
    assert Restart(give_up_after=3).gives_up(3)


STACK = """
import sys, time
from pathlib import Path
from browsers.supervisor import ProcessSpec, Supervisor
home = Path(sys.argv[1])
supervisor = Supervisor(log_dir=home / "logs", run_dir=home / "run")
sleeper = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
supervisor.start([ProcessSpec(f"child-{n}", sleeper) for n in range(5)])
supervisor.wait_ready(40)
print(*[child.pid for child in supervisor.status()], flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_supervisor_takes_its_children_down(tmp_path):
    process, pids = start_stack(tmp_path)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(alive(pid) for pid in pids))
    assert reap_leftovers(tmp_path / "run") == []
    assert not list((tmp_path / "run").glob("*.pid"))


LEAVES_A_CHILD_UNARMED = """
import subprocess, sys
from browsers.lifeline import dies_with_parent
late = ("/bin/sh", "-c", 'sleep 1; exec "$@"', "late")
subprocess.Popen([*late, *dies_with_parent(), "touch", sys.argv[1]], start_new_session=True)
"""


def test_a_child_whose_parent_died_before_it_was_armed_does_nothing(tmp_path):
    trace = tmp_path / "trace"
    command = [sys.executable, "-c", LEAVES_A_CHILD_UNARMED, str(trace)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    time.sleep(2)
    assert not trace.exists()
    armed = "import subprocess, sys; from browsers.lifeline import dies_with_parent; "
    armed += "subprocess.run([*dies_with_parent(), 'touch', sys.argv[1]], check=True)"
    command = [sys.executable, "-c", armed, str(trace)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    assert trace.exists()


def test_leftovers_are_reaped_by_their_start_time_only(tmp_path):
    left = subprocess.Popen(SLEEPER, start_new_session=True)
    other = subprocess.Popen(SLEEPER, start_new_session=True)
    try:
        record(tmp_path / "left.pid", left.pid, psutil.Process(left.pid).create_time())
        record(tmp_path / "other.pid", other.pid, psutil.Process(other.pid).create_time() - 100)
        (tmp_path / "broken.pid").write_text("{")
        assert reap_leftovers(tmp_path) == ["left"]
        assert not alive(left.pid)
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def start_stack(home: Path) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", STACK, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 5
    return process, pids


def record(path: Path, pid: int, started: float) -> None:
    path.write_text(json.dumps({"pid": pid, "started": started}))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
