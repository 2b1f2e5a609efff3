"""A pytest plugin, loaded before Django: tests never touch the repository's own `var/`.

Each process of the tests has a home of its own, beside what they share, in a folder that the first one makes
and removes, whatever became of the others.

The process' database is a SQLite file; with TESTS_DATABASE=postgresql it is on a server of the process' own,
with pgbouncer on one behind a pooler, and with the URL of an empty database it is that one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tests.support import pgbouncer, postgres, shared

PATIENT_COMPILER = "--js-flags=--wasm-tiering-budget=200000000"
"""V8 compiles onnxruntime's two largest functions anew, for seconds of a processor, when a page has started
its engine a few times, as it does in tests of faults alone. What is computed is the same."""

if shared.FOLDER not in os.environ:
    os.environ[shared.FOLDER] = tempfile.mkdtemp(prefix="webpool-tests-")
    atexit.register(shutil.rmtree, os.environ[shared.FOLDER], ignore_errors=True)
_home = tempfile.mkdtemp(prefix="home-", dir=os.environ[shared.FOLDER])
os.environ["WEBPOOL_HOME"] = _home
for _name in (
    "WEBPOOL_DATABASE_PATH",
    "WEBPOOL_DATABASE_URL",
    "WEBPOOL_HISTORY_PATH",
    "WEBPOOL_REDIS_URL",
    "WEBPOOL_HOST",
    "WEBPOOL_PRODUCTION",
    "PORT",
):
    os.environ.pop(_name, None)
shared.share_browsers(Path(_home))
if not os.environ.get("WEBPOOL_MATRIX"):  # `make soak` has browsers as their makers build them
    os.environ["WEBPOOL_CHROMIUM_FLAGS"] = PATIENT_COMPILER

_open = contextlib.ExitStack()
atexit.register(_open.close)
_asked = os.environ.get("TESTS_DATABASE", "")
if _asked in ("postgresql", "pgbouncer"):
    _folder = _open.enter_context(postgres.server())
    postgres.create_database(_folder, "tests")
    if _asked == "pgbouncer":
        _folder = _open.enter_context(pgbouncer.pooler(_folder))
    _asked = postgres.url(_folder, "tests")
if _asked:
    os.environ["WEBPOOL_DATABASE_URL"] = _asked
