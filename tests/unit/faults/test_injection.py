"""Injuries are real: signals to real processes, a real connection cut from outside."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from webpool_site.lab.faults.injection import SLOW_FOR_S, Fault, inject
from webpool_site.lab.faults.targets import NoTarget, Target, Targets

SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    peer, _ = server.accept()
    print(repr(peer.recv(1)), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def port(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    return int(server.stdout.readline())


def wait_status(process: psutil.Process, status: str) -> None:
    until = time.monotonic() + 60
    while process.status() != status:
        assert time.monotonic() < until, process.status()
        time.sleep(0.005)


def connected(server: subprocess.Popen[str]) -> psutil.Process:
    until = time.monotonic() + 60
    process = psutil.Process(server.pid)
    while not any(c.status == psutil.CONN_ESTABLISHED for c in process.net_connections("tcp")):
        assert time.monotonic() < until
    return process


def test_a_connection_goes_silent_and_neither_end_is_told(server: subprocess.Popen[str]) -> None:
    with socket.create_connection(("127.0.0.1", port(server)), timeout=1) as ours:
        inject(connected(server), Fault.SILENCE)
        ours.sendall(b"x")
        with pytest.raises(TimeoutError):
            ours.recv(1)
        assert server.stdout is not None
        assert not select.select([server.stdout], [], [], 0.5)[0], "nothing arrives"


def test_a_connection_is_cut_while_both_ends_live(server: subprocess.Popen[str]) -> None:
    with socket.create_connection(("127.0.0.1", port(server)), timeout=60) as ours:
        inject(connected(server), Fault.CUT)
        assert ours.recv(1) == b"", "our end is told"
    assert server.stdout is not None
    assert server.stdout.readline() == "b''\n", "so is the other"
    assert server.poll() is None


def test_stop_and_kill_are_signals(server: subprocess.Popen[str]) -> None:
    process = psutil.Process(server.pid)
    inject(process, Fault.STOP)
    wait_status(process, psutil.STATUS_STOPPED)
    inject(process, Fault.KILL)
    assert server.wait(60) == -signal.SIGKILL
    with pytest.raises(psutil.NoSuchProcess):
        inject(process, Fault.STOP)


def test_a_slowed_process_goes_on_in_the_end(server: subprocess.Popen[str]) -> None:
    process = psutil.Process(server.pid)
    inject(process, Fault.SLOW)
    wait_status(process, psutil.STATUS_STOPPED)
    time.sleep(SLOW_FOR_S)
    wait_status(process, psutil.STATUS_SLEEPING)


def test_a_home_without_a_pool_has_nobody(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    assert targets.browsers() == []
    assert targets.processes() == []
    for target, browser in ((Target.PAGE, "firefox"), (Target.VALKEY, ""), (Target.CONTROL, "")):
        with pytest.raises(NoTarget, match="no"):
            targets.find(target, browser)
