"""Run as a module: says as JSON what it finds itself to be, and waits, or ends with a given exit code."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

imported = sys.modules.get("tests.support.scripts.imported_once")
print(
    json.dumps(
        {
            "pid": os.getpid(),
            "thread": threading.get_native_id(),
            "parent": os.getppid(),
            "session": os.getsid(0),
            "arguments": sys.argv[1:],
            "name": __name__,
            "colour": os.environ.get("COLOUR"),
            "folder": os.getcwd(),
            "umask": os.umask(0o077),
            "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
            "token": getattr(imported, "TOKEN", None),
        }
    ),
    flush=True,
)
if sys.argv[1].isdigit():
    sys.exit(int(sys.argv[1]))
time.sleep(600)
