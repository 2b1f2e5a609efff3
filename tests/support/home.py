"""A pytest plugin, loaded before Django: tests never touch the repository's own `var/`."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_home = tempfile.mkdtemp(prefix="webpool-tests-")
os.environ["WEBPOOL_HOME"] = _home
for _name in (
    "WEBPOOL_DATABASE_PATH",
    "WEBPOOL_HISTORY_PATH",
    "WEBPOOL_REDIS_URL",
    "WEBPOOL_HOST",
    "WEBPOOL_PRODUCTION",
    "PORT",
):
    os.environ.pop(_name, None)
atexit.register(shutil.rmtree, _home, ignore_errors=True)
