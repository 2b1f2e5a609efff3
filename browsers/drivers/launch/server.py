"""A WebDriver server as a child process of ours: started contained, found listening, ended whole."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from browsers import processes
from browsers.drivers.errors import LaunchFailed
from browsers.drivers.launch.private import scratch

_LISTENING = re.compile(
    rb"(?:started successfully on port |Listening on 127\.0\.0\.1:)(\d+)", re.IGNORECASE
)
_TAIL_BYTES = 2000
_PORT_ATTEMPTS = 3

_NOT_INHERITED = frozenset(
    {
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "ftp_proxy",
        "no_proxy",
        "display",
        "xauthority",
        "wayland_display",
        "dbus_session_bus_address",
        "xdg_config_home",
        "xdg_cache_home",
        "xdg_data_home",
        "xdg_runtime_dir",
        "chromium_flags",
        "moz_crashreporter_shutdown",
    }
)


def tail(path: Path, *, since: int = 0) -> str:
    """The last lines of a log, at most 2000 bytes, nothing from before byte `since`."""
    try:
        with path.open("rb") as log:
            log.seek(max(since, path.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""


def environment(profile_dir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a driver: ours, without proxies and desktop, with homes of its own.

    `profile_dir` was made by `wipe`. The browser writes nothing outside its private directories, and
    carries the marks of `browsers.processes`.
    """
    env = {key: value for key, value in os.environ.items() if key.lower() not in _NOT_INHERITED}
    home = profile_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    env["HOME"] = str(home)
    env["TMPDIR"] = str(scratch(profile_dir))
    return env | processes.marks(profile_dir) | dict(extra)


@dataclass(frozen=True)
class DriverServer:
    """A running WebDriver server. `root` is the process that we created; it listens at `url` in `network`."""

    command: tuple[str, ...]
    url: str
    popen: subprocess.Popen[bytes]
    root: psutil.Process
    log_path: Path
    log_start: int
    network: processes.Network

    def log_tail(self) -> str:
        return tail(self.log_path, since=self.log_start)


def _log_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _port(root: psutil.Process, log_path: Path, since: int, *, private: bool) -> int | None:
    """The port that the driver announced in its log, else the one it is seen listening on.

    In a network of its own (`private`) nobody else listens yet.
    """
    try:
        with log_path.open("rb") as log:
            log.seek(since)
            if match := _LISTENING.search(log.read()):
                return int(match[1])
    except OSError:
        pass
    try:
        if private:
            ports = (processes.listening_port(each.pid) for each in root.children(recursive=True))
            return next((port for port in ports if port is not None), None)
        for process in [root, *root.children(recursive=True)]:
            for connection in process.net_connections(kind="tcp4"):
                if connection.status == psutil.CONN_LISTEN:
                    return int(connection.laddr.port)
    except psutil.Error:
        pass
    return None


def start_server(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    timeout_s: float,
    remedy: str,
    folders: Sequence[Path],
) -> DriverServer:
    """Start a driver and wait until it listens on loopback; `folders` are what it is to reach.

    The command asks for port 0 by itself, or says `{port}` where a driver wants to be told a free one;
    as that can be taken in between, such a driver is tried again.
    LaunchFailed when it ends or stays silent; nothing is left running then.
    """
    until = time.monotonic() + timeout_s
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        filled = [argument.replace("{port}", str(_free_port())) for argument in command]
        try:
            return _start_once(
                filled, env=env, log_path=log_path, until=until, remedy=remedy, folders=folders
            )
        except LaunchFailed as error:
            taken = filled != list(command) and "in use" in error.log_tail.lower()
            if not taken or attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_once(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    until: float,
    remedy: str,
    folders: Sequence[Path],
) -> DriverServer:
    tried = " ".join(command)
    log_start = _log_size(log_path)
    try:
        popen, network = processes.spawn_apart(command, env=env, log_path=log_path, folders=folders)
    except OSError as error:
        raise LaunchFailed(
            f"the driver could not be started ({error})", tried=tried, log_tail="", remedy=remedy
        ) from error
    root = psutil.Process(popen.pid)  # a zombie at worst: we have not collected it
    reason = "the driver did not listen in time"
    while time.monotonic() < until:
        if not processes.running(root):
            reason = f"the driver ended with exit code {popen.wait()}"
            break
        port = _port(root, log_path, log_start, private=network.private)
        if port is not None:
            return DriverServer(
                command=tuple(command),
                url=f"http://127.0.0.1:{port}",
                popen=popen,
                root=root,
                log_path=log_path,
                log_start=log_start,
                network=network,
            )
        time.sleep(0.01)
    processes.kill_tree(root, deadline_s=5.0)
    popen.wait()
    network.close()
    raise LaunchFailed(reason, tried=tried, log_tail=tail(log_path, since=log_start), remedy=remedy)
