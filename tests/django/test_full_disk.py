"""A disk without room is told as that, however SQLite says it (real files on a real small disk)."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from inference.store.full_disk import is_full
from inference.views.http import as_webpool_error


@pytest.fixture
def small_disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk can be mounted by root alone: {mounted.stderr.strip()}")
    settings.WEBPOOL_HOME = disk
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError) as full:
        while True:
            file.write(bytes(4096))
    assert is_full(full.value)


def said_by_django(work: str, database: Path) -> OperationalError:
    """What SQLite raised, as Django passes it on."""
    with pytest.raises(OperationalError) as caught:
        try:
            connection = sqlite3.connect(database, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(work)
        except sqlite3.OperationalError as error:
            raise OperationalError(*error.args) from error
    return caught.value


def prepared(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.close()


def test_a_database_without_room_says_that_the_disk_is_full(small_disk: Path) -> None:
    prepared(small_disk / "db")
    fill(small_disk)
    error = said_by_django("INSERT INTO t VALUES (randomblob(100000))", small_disk / "db")
    assert is_full(error), error
    assert "disk is full" in str(as_webpool_error(error))


def test_another_error_of_the_database_is_not_the_disk_s(small_disk: Path) -> None:
    error = said_by_django("INSERT INTO nowhere VALUES (1)", small_disk / "db")
    assert not is_full(error)
    error = said_by_django("SELECT 1", small_disk / "no such folder" / "db")
    assert not is_full(error), "it could not be opened, with room on the disk"
