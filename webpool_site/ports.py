"""Is a TCP port free, and if not, who has it?"""

from __future__ import annotations

import contextlib
import socket

import psutil


class PortError(Exception):
    """The address cannot be listened on; the message says by whom it is taken and what to do."""


def check_free(host: str, port: int) -> None:
    """Raise `PortError` unless a server could listen on `host`:`port` now."""
    if not 1 <= port <= 65_535:
        raise PortError(f"expected a port from 1 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except PermissionError as error:
            raise PortError(f"port {port} needs privileges; PORT=8000 chooses another") from error
        except OSError as error:
            by = holder(port)
            taken = f"port {port} is taken{f' by {by}' if by else ''}"
            if error.errno not in (98, 48):  # EADDRINUSE on Linux, macOS
                taken = f"{host}:{port} cannot be listened on ({error.strerror})"
            raise PortError(f"{taken}; PORT=… chooses another, as in PORT={port + 1}") from error


def holder(port: int) -> str | None:
    """The program that listens on `port`, when this user may see it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            at = connection.laddr
            if connection.status == psutil.CONN_LISTEN and at and at.port == port:
                if connection.pid is None:
                    return None
                with contextlib.suppress(psutil.Error):
                    return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None


def accepts(host: str, port: int, *, timeout_s: float = 0.5) -> bool:
    """Whether something listens there."""
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host).strip("[]")  # noqa: S104
    try:
        with socket.create_connection((where, port), timeout=timeout_s):
            return True
    except OSError:
        return False
