"""The machine: cores, memory, disk, containment of processes, node and its packages, the port."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from browsers import locations, processes
from inference.sandbox.confinement import landlock_version
from webpool_site import ports
from webpool_site.doctor.finding import Finding, Level
from webpool_site.setup import node

AREA = "machine"
# Documented defaults, not measurements: what a browser with a small model and the stack need.
MEMORY_PER_BROWSER_MB = 1024
DISK_WANTED_MB = 2048


def findings(home: Path, *, host: str, port: int, pool_runs: bool) -> Iterator[Finding]:
    yield _python()
    yield Finding(AREA, "cores", Level.OK, str(os.cpu_count()), facts={"cores": os.cpu_count()})
    yield _memory()
    yield _disk(home)
    yield _containment()
    yield _apart()
    yield _user()
    yield _files_apart()
    yield _node()
    yield _packages()
    yield _port(host, port, pool_runs=pool_runs)


def _python() -> Finding:
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        AREA,
        "python",
        Level.OK if right else Level.NOTE,
        f"{platform.python_version()} on {platform.platform()}",
        "" if right else "webpool is made for Python 3.11, 3.12 and 3.13",
    )


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    available_mb = memory.available / 2**20
    enough = available_mb >= 2 * MEMORY_PER_BROWSER_MB
    return Finding(
        AREA,
        "memory",
        Level.OK if enough else Level.NOTE,
        f"{available_mb / 1024:.1f} of {memory.total / 2**30:.1f} GiB available",
        "" if enough else "run fewer browsers: WEBPOOL_BROWSERS=chromium",
        {"available_mb": round(available_mb), "total_mb": round(memory.total / 2**20)},
    )


def _disk(home: Path) -> Finding:
    free_mb = shutil.disk_usage(home).free / 2**20
    enough = free_mb >= DISK_WANTED_MB
    return Finding(
        AREA,
        "disk",
        Level.OK if enough else Level.NOTE,
        f"{free_mb / 1024:.1f} GiB free at {home}",
        "" if enough else "free some, or set WEBPOOL_HOME to a larger disk",
        {"free_mb": round(free_mb)},
    )


def _containment() -> Finding:
    containment = processes.containment()
    sound = containment.namespace or containment.dies_with_owner
    return Finding(
        AREA,
        "containment",
        Level.OK if sound else Level.NOTE,
        f"{containment.mode}: {containment.note}",
        "" if sound else "install util-linux (setpriv, unshare); until then leftovers are reaped",
        {
            "mode": containment.mode,
            "namespace": containment.namespace,
            "dies_with_owner": containment.dies_with_owner,
        },
    )


def _apart() -> Finding:
    private = processes.containment().private_network
    return Finding(
        AREA,
        "other users",
        Level.OK if private else Level.NOTE,
        "cannot reach the pool's drivers and browsers, which have networks of their own"
        if private
        else processes.OPEN_DOOR,
        "" if private else processes.OPEN_DOOR_REMEDY,
        {"private_network": private},
    )


def _user() -> Finding:
    """As whom browsers run, which matters where the pool is root's."""
    user = processes.identity()
    as_root = user is None and os.geteuid() == 0
    if as_root:
        said = "browsers run as root, and Chromium without its sandbox"
    else:
        said = f"browsers run as user {user.uid if user else os.geteuid()}"
    return Finding(
        AREA,
        "browsers' user",
        Level.NOTE if as_root else Level.OK,
        said,
        f"run the pool as a plain user; or unset {processes.USER_VARIABLE} and allow namespaces"
        if as_root
        else "",
        {"uid": user.uid if user else os.geteuid()},
    )


def _files_apart() -> Finding:
    """What a model file could make its reader read."""
    version = landlock_version()
    kept = version >= 1
    return Finding(
        AREA,
        "model files",
        Level.OK if kept else Level.NOTE,
        f"are read by a process that can read nothing else (Landlock {version})"
        if kept
        else "are read by a process that can read whatever the pool's user can",
        "" if kept else "boot a kernel with Landlock (5.13 or later; lsm= must name it)",
        {"landlock": max(0, version)},
    )


def _node() -> Finding:
    found = node.find_node()
    if found is None:
        return Finding(
            AREA,
            "node",
            Level.MISSING,
            "not found",
            f"pip install {node.NODE_WHEEL}, or {locations.SETUP}",
        )
    return Finding(AREA, "node", Level.OK, f"{found.version} ({found.program})")


def _packages() -> Finding:
    missing = node.missing_packages(development=False)
    if missing:
        return Finding(
            AREA,
            "npm packages",
            Level.BAD,
            f"missing: {', '.join(missing)}",
            locations.SETUP,
        )
    return Finding(AREA, "npm packages", Level.OK, "onnxruntime-web and what it needs are there")


def _port(host: str, port: int, *, pool_runs: bool) -> Finding:
    name = f"port {port}"
    if pool_runs and ports.accepts(host, port):
        return Finding(AREA, name, Level.OK, "the running pool's web server answers")
    try:
        ports.check_free(host, port)
    except ports.PortError as error:
        return Finding(AREA, name, Level.NOTE, str(error), f"PORT={port + 1} {locations.UP}")
    return Finding(AREA, name, Level.OK, f"free on {host}")
