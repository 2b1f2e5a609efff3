"""The ids of running children on disk, and killing those that a killed supervisor left."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import psutil


def write_pid(path: Path, pid: int) -> None:
    """Record a running child: JSON with its id and start time; nothing when it is gone already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()
        path.write_text(json.dumps({"pid": pid, "started": started}))


def reap_leftovers(run_dir: Path) -> list[str]:
    """Kill children that a supervisor that was itself killed left behind; returns their names.

    A process is killed only when its id and its start time are those that were recorded.
    """
    killed = []
    for path in sorted(run_dir.glob("*.pid")):
        try:
            record = json.loads(path.read_text())
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < 1.0
            if same and process.status() != psutil.STATUS_ZOMBIE:
                for member in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                psutil.wait_procs([process], timeout=5)
                killed.append(path.stem)
        except (ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            pass  # unreadable, or gone already: there is nothing left to kill
        path.unlink(missing_ok=True)
    return killed
