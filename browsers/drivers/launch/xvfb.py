"""An X server without a screen, for browsers that cannot do without a display.

It chooses a free display by itself and tells it through a pipe. It gets no PID namespace: it writes
its process id into a lock file that other X servers on this machine read. Whoever does not have its cookie
is refused: an X server tells its clients what others type and draw.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from browsers import processes
from browsers.drivers.errors import LaunchFailed
from browsers.drivers.launch.server import tail

REMEDY = "apt-get install xvfb"
_SCREEN = "1280x800x24"
_ANY_DISPLAY = 0xFFFF  # FamilyWild


@dataclass(frozen=True)
class VirtualDisplay:
    """A running X server: its name, such as `:99`, and the file with its cookie."""

    name: str
    cookie: Path
    popen: subprocess.Popen[bytes]
    process: psutil.Process

    def admit(self, profile_dir: Path) -> dict[str, str]:
        """Put the cookie into a browser's private directory; returns what its environment needs."""
        copy = profile_dir / "xauthority"
        copy.write_bytes(self.cookie.read_bytes())
        copy.chmod(0o600)
        return {"DISPLAY": self.name, "XAUTHORITY": str(copy)}

    def stop(self, deadline_s: float) -> None:
        """End it; asked politely first, so that it removes its lock and socket."""
        with contextlib.suppress(psutil.Error):
            self.process.resume()
        processes.stop(self.popen, deadline_s=deadline_s)
        self.cookie.unlink(missing_ok=True)


def _read_line(fd: int, popen: subprocess.Popen[bytes], until: float) -> str | None:
    told = b""
    while not told.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, min(0.1, until - time.monotonic())))
        if ready:
            chunk = os.read(fd, 64)
            if not chunk:
                return None
            told += chunk
        elif popen.poll() is not None or time.monotonic() >= until:
            return None
    return told.decode().strip() or None


def _write_cookie(path: Path) -> None:
    """A new random cookie for every display (Xau(3)), readable by this user alone."""
    fields = [b"", b"", b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16)]
    record = struct.pack(">H", _ANY_DISPLAY)
    record += b"".join(struct.pack(">H", len(each)) + each for each in fields)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(record)


def start_display(
    *, env: Mapping[str, str], cookie: Path, log_path: Path, timeout_s: float
) -> VirtualDisplay:
    """Start Xvfb on a free display, for whoever can read the file `cookie`, which it makes.

    LaunchFailed when it does not come up; nothing is left then.
    """
    reading, writing = os.pipe()
    command = [
        "Xvfb", "-displayfd", str(writing), "-screen", "0", _SCREEN, "-nolisten", "tcp",
        "-auth", str(cookie),
    ]  # fmt: skip
    try:
        _write_cookie(cookie)
        popen = processes.spawn(
            command, env=env, log_path=log_path, contained=False, pass_fds=[writing]
        )
    except OSError as error:
        os.close(reading)
        cookie.unlink(missing_ok=True)
        raise LaunchFailed(
            f"Xvfb could not be started ({error})",
            tried=" ".join(command),
            log_tail="",
            remedy=REMEDY,
        ) from error
    finally:
        os.close(writing)
    try:
        number = _read_line(reading, popen, time.monotonic() + timeout_s)
    finally:
        os.close(reading)
    if number is None:
        processes.stop(popen, deadline_s=1.0)
        cookie.unlink(missing_ok=True)
        raise LaunchFailed(
            f"Xvfb told no display within {timeout_s:g} s",
            tried=" ".join(command),
            log_tail=tail(log_path),
            remedy=REMEDY,
        )
    return VirtualDisplay(
        name=f":{number}", cookie=cookie, popen=popen, process=psutil.Process(popen.pid)
    )
