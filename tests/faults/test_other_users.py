"""Other users of this machine: no driver, display, socket, file or token of a pool is of use to them."""

from __future__ import annotations

import contextlib
import dataclasses
import encodings.idna  # noqa: F401  (the other user cannot read it where root's library is closed to others)
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from browsers.lifeline import dies_with_parent
from tests.browser.bench import driver_or_skip
from tests.support.other_users import NOBODY, as_nobody, attack, command_as, doors
from tests.support.shared import ROOT
from tests.support.stack import RunningStack
from webpool_site.lab.faults.targets import Target, Targets

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")

KINDS = ("chromium", "firefox", "webkitgtk")
OF_A_POOL = "chromium"  # the others are tried alone: a pool of each takes long
PLAIN = 64_321
ADDRESS = re.compile(r"127\.0\.0\.1:\d+/\S*[A-Za-z0-9_-]{20}")
OWNER = """
import json, sys
from pathlib import Path
from browsers.drivers import LaunchOptions, get_driver
from browsers.processes import containment

kind, home = sys.argv[1], Path(sys.argv[2])
browser = get_driver(kind).launch(
    LaunchOptions(profile_dir=home / "profiles" / kind, log_path=home / "logs" / "b.log"))
facts = {"pids": [each.pid for each in browser.processes()], "mode": containment().mode}
print(json.dumps(facts), flush=True)
sys.stdin.read()
browser.quit()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter: what is below it must protect itself."""
    made = Path(tempfile.mkdtemp(prefix="webpool-other-users-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_another_user_can_do_nothing_with_a_pool_of_root(folder: Path) -> None:
    for kind in KINDS:
        driver_or_skip(kind)
    pool = RunningStack(folder / "home", browsers=",".join(KINDS), backends="wasm")
    pool.migrate()
    try:
        pool.start()
        found = doors(everything(pool), below=folder)
        for kind in KINDS:
            for part in (Target.DRIVER, Target.BROWSER, Target.PAGE):
                ours = Targets(pool.home).find(part, kind).uids().effective
                assert ours not in (0, NOBODY), f"{part} of {kind}"
        assert found.ports == {pool.port}, "only the web server listens where others are"
        assert len(found.inner) >= 3 * len(KINDS), "a driver's port and two of the page, for each"
        assert any("X11" in name for name in found.sockets)
        assert any("valkey" in name for name in found.sockets)
        assert any(name.endswith("db.sqlite3") for name in found.files)
        assert as_nobody(partial(attack, found, pool.home)) == []
        assert not told_tokens(pool)
        assert not readable_by_others(pool.home)
    finally:
        pool.stop()


def everything(pool: RunningStack) -> set[psutil.Process]:
    """Every process of the pool, also what has overwritten the marks in its environment."""
    assert pool.process is not None
    up = psutil.Process(pool.process.pid)
    return {up, *up.children(recursive=True), *pool.processes()}


def told_tokens(pool: RunningStack) -> list[str]:
    """Addresses with a secret in what others, or whoever gets a log, can read."""
    texts = {str(log): log.read_text(errors="replace") for log in pool.home.rglob("*.log")}
    for process in everything(pool):
        with contextlib.suppress(psutil.Error):
            texts[f"process {process.pid}"] = " ".join(process.cmdline())
    assert len(texts) > 10
    return [
        f"{where}: {match[0]}" for where, text in texts.items() if (match := ADDRESS.search(text))
    ]


def readable_by_others(home: Path) -> list[str]:
    """What the pool's processes wrote with rights for others, beside the home being closed to them."""
    written = [home, *(home / "logs").iterdir(), *(home / "valkey").rglob("*")]
    written += [each for each in (home / "run").iterdir() if not each.is_dir()]
    return [str(each) for each in written if each.stat().st_mode & 0o077]


@pytest.fixture
def as_plain(folder: Path) -> tuple[str, ...]:
    """Words before a command that a plain user is to run."""
    (folder / "python").mkdir()
    try:
        return command_as(PLAIN, folder / "python")
    except PermissionError as error:
        pytest.skip(f"user {PLAIN} may not start this Python: {error}")


def test_another_user_can_do_nothing_with_a_pool_of_a_plain_user(
    folder: Path, as_plain: tuple[str, ...]
) -> None:
    driver_or_skip(OF_A_POOL)
    home = folder / "home"
    pool = RunningStack(
        home, browsers=OF_A_POOL, backends="wasm", user=PLAIN, as_user=as_plain,
        extra_env={"HOME": "/nonexistent"},
    )  # fmt: skip
    pool.migrate()
    try:
        pool.start()
        ours = everything(pool)
        assert {each.uids().effective for each in ours} == {PLAIN}
        found = doors(ours, below=folder)
        assert pool.port in found.ports
        assert any("valkey" in name for name in found.sockets)
        assert any(name.endswith("db.sqlite3") for name in found.files)
        if not found.inner:
            asks = "from browsers.processes import containment; print(containment().mode)"
            mode = subprocess.check_output(
                [*as_plain, sys.executable, "-c", asks], cwd=ROOT, text=True
            )
            assert mode.strip() == "session", "what could be kept apart is not"
            pytest.skip("this kernel gives plain users no namespaces; doctor says so")
        assert found.ports == {pool.port}, "only the web server listens where others are"
        assert len(found.inner) >= 3, "a driver's port and two of the page"
        assert as_nobody(partial(attack, found, home)) == []
        assert not told_tokens(pool)
        assert not readable_by_others(home)
    finally:
        pool.stop()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != OF_A_POOL])
def test_another_user_can_do_nothing_with_a_browser_of_a_plain_user(
    kind: str, folder: Path, as_plain: tuple[str, ...]
) -> None:
    driver_or_skip(kind)
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, PLAIN, PLAIN)
    with subprocess.Popen(
        [*as_plain, *dies_with_parent(), sys.executable, "-c", OWNER, kind, str(home)],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, umask=0o077,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        facts = json.loads(owner.stdout.readline() or "{}")
        assert facts, (home / "logs" / "b.log").read_text()
        pids = [psutil.Process(pid) for pid in [*facts["pids"], owner.pid]]
        assert {each.uids().real for each in pids} == {PLAIN}
        if facts["mode"] == "session":
            pytest.skip("this kernel gives plain users no namespaces; doctor says so")
        found = doors(pids, below=folder)
        assert found.ports == frozenset()
        assert found.inner
        assert as_nobody(partial(attack, found, home)) == []


def test_who_tries_finds_what_is_open(folder: Path) -> None:
    """Else the tests above could not fail."""
    (folder / "open.txt").write_text("x")
    (folder / "open.txt").chmod(0o644)
    with (
        (folder / "open.txt").open("rb"),
        socket.socket(socket.AF_UNIX) as ours,
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web,
    ):
        threading.Thread(target=web.serve_forever, daemon=True).start()
        ours.bind(str(folder / "open.sock"))
        ours.listen()
        (folder / "open.sock").chmod(0o777)
        found = doors([psutil.Process()], below=folder)
        assert web.server_port in found.ports
        won = as_nobody(partial(attack, dataclasses.replace(found, pids=()), folder))
        web.shutdown()
    assert f"port {web.server_port} lets us in without a key" in won
    assert f"{folder}/open.txt can be read" in won
    assert f"socket {folder}/open.sock lets us in" in won
    assert f"{folder} can be listed" in won
