"""`manage.py up` as an operator meets it: it starts, refuses a second one, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from browsers.lifeline import dies_with_parent
from tests.support.stack import RunningStack, free_port

REPOSITORY = Path(__file__).parents[2]


class Pool:
    """A pool of one browser, run by `manage.py up` on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def up(self, **environment: str) -> None:
        with (self.home / "up.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [*dies_with_parent(), sys.executable, "manage.py", "up", "--browsers", browser()],
                cwd=REPOSITORY,
                env=self.environment(**environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WEBPOOL_")}
        ours = {"WEBPOOL_HOME": str(self.home), "PORT": str(self.port), "WEBPOOL_BACKENDS": "wasm"}
        return {**kept, **ours, **more}

    def said(self) -> str:
        return (self.home / "up.txt").read_text()

    def wait_ready(self, times: int = 1) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            return self.said().count("Ctrl-C stops everything") == times

        wait_until(ready, timeout_s=240, explain=self.said)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on this home, browsers and drivers too."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("WEBPOOL_HOME") == str(self.home)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(120)


@pytest.fixture
def pool(tmp_path: Path):
    pool = Pool(tmp_path)
    yield pool
    if pool.process is not None and pool.process.poll() is None:
        pool.stop()


def test_a_pool_starts_heals_and_leaves_nothing(pool: Pool) -> None:
    pool.up()
    pool.wait_ready()
    assert "webpool is ready: 1 of 1 browsers" in pool.said()
    assert "log in as admin / " in pool.said()

    # A second one on the same home, and another home's on the same port, are refused.
    second = refused(pool.environment())
    assert f"(process {pool.process.pid})" in second  # type: ignore[union-attr]
    elsewhere = pool.home / "elsewhere"
    elsewhere.mkdir()
    taken = refused(pool.environment(WEBPOOL_HOME=str(elsewhere)))
    assert f"port {pool.port} is taken by " in taken
    assert "PORT=" in taken

    assert "ended" not in pool.said(), "a refused pool must not touch the running one"

    # Without the process that they were forked from the others live on; the next worker waits for another.
    children = psutil.Process(pool.process.pid).children()  # type: ignore[union-attr]
    server = next(p for p in children if "browsers.supervisor.fork_server" in words(p))
    server.kill()

    # A worker that is killed takes its browser along and comes back with another.
    worker = next(p for p in children if f"browser.{browser()}@%h" in words(p))
    browsers = worker.children(recursive=True)
    assert browsers
    worker.kill()
    wait_until(lambda: not any(running(p) for p in browsers), timeout_s=30, explain=pool.said)
    again = f"{f'browser {browser()}':<24} ready again"
    wait_until(lambda: again in pool.said(), timeout_s=180, explain=pool.said)
    assert {p for p in children if not running(p)} == {server, worker}

    # kill -9 of the pool itself: nothing is left, and it can be started again.
    pool.process.kill()  # type: ignore[union-attr]
    pool.process.wait()  # type: ignore[union-attr]
    wait_until(lambda: not pool.processes(), timeout_s=30, explain=lambda: str(pool.processes()))
    pool.up()
    pool.wait_ready(times=2)
    assert pool.said().count("log in as") == 1
    assert pool.stop() == 0
    assert pool.processes() == []
    assert "stopped; no process is left" in pool.said()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WEBPOOL_BROWSERS": "lynx"}, "unknown browser 'lynx'"),
        ({"WEBPOOL_BROWSERS": "safari"}, "safari cannot run here: Safari runs on macOS only"),
        ({"WEBPOOL_REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, "no Redis answers at redis://127"),
        (
            {"PORT": "70000"},
            "PORT: expected a whole number from 1 to 65535, such as 8000, got '70000'",
        ),
    ],
)
def test_what_cannot_start_says_why(pool: Pool, environment: dict[str, str], expected: str) -> None:
    said = refused(pool.environment(**{"WEBPOOL_BROWSERS": browser(), **environment}))
    assert expected in said
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_database_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    stack = RunningStack(tmp_path / "home")
    stack.migrate()
    database = stack.home / "db.sqlite3"
    with contextlib.closing(sqlite3.connect(database)) as ledger, ledger:
        ledger.execute(
            "INSERT INTO django_migrations (app, name, applied) "
            "VALUES ('inference', '0099_later', '2026-01-01')"
        )
    said = refused(stack.env)
    assert f"{database} was made by another version of webpool" in said
    assert "inference.0099_later" in said


def refused(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def browser() -> str:
    from browsers.drivers import installed

    return installed()[0].kind


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, *, timeout_s: float, explain) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)
