"""A PostgreSQL server of the tests' own: in a folder that is gone afterwards, without a port.

`TESTS_DATABASE=postgresql pytest tests/django/test_ledger.py` runs tests on one (tests/support/home.py), and
`TESTS_DATABASE=pgbouncer` behind a pooler (tests/support/pgbouncer.py).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from browsers.lifeline import dies_with_parent

USER = "webpool"
_INSTALLED = Path("/usr/lib/postgresql")
_OWNERS = ("postgres", "nobody")  # it refuses to run as root
_STARTS_WITHIN_S = 180.0
# Nothing of it outlives the tests, so nothing needs to reach a disk.
_OPTIONS = (
    "listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off",
    "max_connections=200", "shared_buffers=64MB", "dynamic_shared_memory_type=mmap",
)  # fmt: skip


class NoPostgres(Exception):
    """This machine has no PostgreSQL; the message says how it gets one."""


@contextlib.contextmanager
def server() -> Iterator[Path]:
    """Run a server and give the folder of its socket. It ends with this process, however that ends.

    Raises:
        NoPostgres.
    """
    binaries = programs()
    with folder_of_its_own() as (folder, identity):
        data = folder / "data"
        init = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={USER}")
        subprocess.run(
            [binaries / "initdb", *init, "--pgdata", data],
            cwd=folder, stdout=subprocess.DEVNULL, check=True, **identity,
        )  # fmt: skip
        options = [word for option in _OPTIONS for word in ("-c", option)]
        command: list[str | Path] = [binaries / "postgres", "-D", data, "-k", folder, *options]
        with running(command, folder, identity, ends_at=signal.SIGINT):
            yield folder


@contextlib.contextmanager
def folder_of_its_own() -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder that is gone afterwards, and as whom its owner runs, for `subprocess`."""
    folder = Path(tempfile.mkdtemp(prefix="webpool-pg-"))
    try:
        yield folder, _identity(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    identity: dict[str, Any],
    *,
    ends_at: signal.Signals,
) -> Iterator[None]:
    """Run what serves databases at a socket in the folder, from when it answers; it ends at the signal."""
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            [*dies_with_parent(), *command],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **identity,
        )  # fmt: skip
    try:
        _wait_until_it_answers(process, folder)
        yield
    finally:
        process.send_signal(ends_at)
        process.wait(_STARTS_WITHIN_S)


def create_database(folder: Path, name: str) -> None:
    """Make an empty database on the server."""
    with psycopg.connect(url(folder, "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')


def url(folder: Path, name: str) -> str:
    """The URL of a database whose server, or what stands before it, has its socket in the folder."""
    return f"postgresql://{USER}@/{name}?host={folder}"


def programs() -> Path:
    """The folder of the newest one that is installed.

    Raises:
        NoPostgres.
    """
    versions = sorted(_INSTALLED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise NoPostgres(
            "PostgreSQL is not installed: `manage.py setup --development` as root, "
            "or apt-get install postgresql"
        )
    return versions[-1].parent


def _identity(folder: Path) -> dict[str, Any]:
    """As whom it runs, for `subprocess`; the folder becomes that user's."""
    if os.geteuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    owner = next(known[name] for name in _OWNERS if name in known)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _wait_until_it_answers(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            psycopg.connect(url(folder, "postgres")).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")
                raise AssertionError(f"{folder}: no database answers: {error}\n{log}") from error
        time.sleep(0.02)
