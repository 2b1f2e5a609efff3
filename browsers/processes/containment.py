"""How drivers are contained on this machine, so that the kernel ends what they started."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from browsers.lifeline import available, dies_with_parent

MODE_VARIABLE = "WEBPOOL_CONTAINMENT"
"""Environment variable that chooses the container: `pid-namespace`, `user-namespace` or `session`."""

BROKER = ("-I", "-S", str(Path(__file__).with_name("socket_broker.py")))
"""What Python is to run as the first program of a private network."""

_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_TRY_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Containment:
    """How drivers are contained on this machine: found by trying, never assumed.

    `prefix` makes the driver the first process of a namespace. `namespace`: everything a driver started
    ends with it. `private_network`: that namespace has a network of its own, which no other user reaches.
    `dies_with_owner`: the kernel kills the driver when its starter is gone; without it the leftovers of
    a killed worker stay until `reap_orphans`.
    """

    mode: str
    prefix: tuple[str, ...]
    namespace: bool
    dies_with_owner: bool
    note: str
    private_network: bool = False

    def wrap(self, command: Sequence[str]) -> list[str]:
        return [*dies_with_parent(), *self.prefix, *command]


def works(command: Sequence[str]) -> bool:
    """Whether it ends well, and in time."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


_MODES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "pid-namespace": (
        _UNSHARE,
        "each driver leads a PID namespace and dies with its worker",
    ),
    "user-namespace": (
        (*_UNSHARE[:1], "--user", "--map-current-user", *_UNSHARE[1:]),
        "each driver leads a PID namespace made through a user namespace, and dies with its worker",
    ),
}

# In a user namespace the first program needs its rights for a moment, to bring the loopback up.
_NETWORK = {"pid-namespace": ("--net",), "user-namespace": ("--net", "--keep-caps")}


@functools.cache
def _containment(wanted: str) -> Containment:
    modes = [wanted] if wanted in _MODES else [] if wanted == "session" else list(_MODES)
    for mode in modes:
        prefix, note = _MODES[mode]
        if works([*dies_with_parent(), *prefix, "true"]):
            apart = (*prefix, *_NETWORK[mode])
            broker = [sys.executable, *BROKER, "-1", "-", "true"]
            private = works([*dies_with_parent(), *apart, *broker])
            return Containment(
                mode=mode,
                prefix=apart if private else prefix,
                namespace=True,
                dies_with_owner=available(),
                note=note,
                private_network=private,
            )
    if available() and works([*dies_with_parent(), "true"]):
        return Containment(
            mode="session",
            prefix=(),
            namespace=False,
            dies_with_owner=True,
            note="no PID namespaces here: a driver dies with its worker, its browser may outlive both"
            " until it is reaped; allow unshare (CAP_SYS_ADMIN or user namespaces) for more",
        )
    return Containment(
        mode="session",
        prefix=(),
        namespace=False,
        dies_with_owner=False,
        note="neither setpriv nor unshare works here (Debian package util-linux): what a killed worker"
        " leaves is found by the reaper alone",
    )


def containment() -> Containment:
    """What works here, tried once per process; `WEBPOOL_CONTAINMENT` forces a weaker mode.

    ValueError when that variable names an unknown mode or one that does not work here.
    """
    wanted = os.environ.get(MODE_VARIABLE, "")
    if wanted and wanted != "session" and wanted not in _MODES:
        raise ValueError(
            f"{MODE_VARIABLE} must be one of {', '.join([*_MODES, 'session'])}, not {wanted!r}"
        )
    found = _containment(wanted)
    if wanted and found.mode != wanted:
        raise ValueError(f"{MODE_VARIABLE}={wanted} does not work on this machine; unset it")
    return found


@functools.cache
def user_namespaces(uid: int | None = None) -> bool:
    """Whether that user (None: this one) may create user namespaces: a browser's sandbox needs them."""
    other = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    return works(
        [*other, "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    )
