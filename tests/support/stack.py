"""A real stack for tests: `manage.py up` as a process of its own, in a home of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from browsers.lifeline import dies_with_parent
from tests.support import commands
from tests.support.shared import ROOT, migrated, sampled, share_browsers

_RUN_A_POOL = ("demo", "fire", "validate_faults")


def free_port() -> int:
    """A port that nobody has, and that the system gives to no driver, page or client meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclasses.dataclass
class RunningStack:
    """`manage.py up`, its doors, and what is needed to hurt it."""

    home: Path
    browsers: str = "auto"
    port: int = dataclasses.field(default_factory=free_port)
    extra_env: dict[str, str] = dataclasses.field(default_factory=dict)
    backends: str = ""
    """Those its browsers use: one that has WebAssembly only to check starts in half the time."""
    process: subprocess.Popen[bytes] | None = None
    user: int | None = None
    """Whose the pool is; None: of whoever runs the tests."""
    as_user: tuple[str, ...] = ()
    """Words before its command, which make it that user's."""

    @property
    def env(self) -> dict[str, str]:
        ours = {"WEBPOOL_HOME": str(self.home), "PORT": str(self.port)}
        browsers = {"WEBPOOL_BROWSERS": self.browsers, "WEBPOOL_BACKENDS": self.backends}
        return {**os.environ, **ours, **browsers, **self.extra_env}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, timeout_s: float = 300.0) -> None:
        """Start and wait until every browser of the stack is ready."""
        self._make_home()
        self._give_home()
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                # Tests that are interrupted leave no pool behind.
                [*self.as_user, *dies_with_parent(), sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_ready(timeout_s=timeout_s)

    def _give_home(self) -> None:
        if self.user is not None:
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, self.user, self.user, follow_symlinks=False)
            self.home.chmod(0o700)

    def _make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        share_browsers(self.home)

    def wait_ready(self, *, timeout_s: float = 300.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the stack did not become ready:\n{self.logs()}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            browsers = self.browser_rows()
        except (urllib.error.URLError, OSError, ValueError):
            return False
        return bool(browsers) and all(
            row["state"] == "ready" and row["live"] and row["live"]["state"] == "ready"
            for row in browsers
        )

    def browser(self, browser_id: str) -> dict[str, Any]:
        return next(row for row in self.browser_rows() if row["id"] == browser_id)

    def browser_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get("/api/browsers/?limit=100")["results"]
        return rows

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, document: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def submit(self, model: str, inputs: Mapping[str, np.ndarray], **options: Any) -> str:
        """Start a run and return its id at once."""
        listed = {name: array.tolist() for name, array in inputs.items()}
        answer = self.post("/api/runs/", {"model": model, "inputs": listed, **options})
        run_id: str = answer["id"]
        return run_id

    def wait_run(self, run_id: str, *, timeout_s: float = 240.0) -> dict[str, Any]:
        """The run once it is terminal; the web server may be away meanwhile."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                run: dict[str, Any] = self.get(f"/api/runs/{run_id}/?wait=2")
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
                continue
            if run["state"] != "running":
                return run
        raise AssertionError(f"run {run_id} did not end within {timeout_s} s\n{self.logs()}")

    def outputs(self, run_id: str) -> dict[str, np.ndarray]:
        answer = self.get(f"/api/runs/{run_id}/outputs/")
        return {
            item["name"]: np.array(item["data"], np.float32).reshape(item["shape"])
            for item in answer["outputs"]
        }

    def pid(self, name: str) -> int:
        """The process of that name, such as `browser.firefox`, `control`, `valkey` or `web`."""
        record = json.loads((self.home / "run" / f"{name}.pid").read_text())
        pid: int = record["pid"]
        return pid

    def manage(
        self, *args: str, timeout_s: float = 300, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command against this stack, as its operator would.

        One that runs a pool of its own is started as a program.
        """
        if args[0] in _RUN_A_POOL:
            done = subprocess.run(
                [sys.executable, "manage.py", *args], cwd=ROOT, env=self.env,
                capture_output=True, text=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        else:
            done = commands.run(args, self.env, timeout_s)
        if check and done.returncode:
            raise AssertionError(f"{args}: {done.stdout}\n{done.stderr}\n{self.logs()}")
        return done

    def migrate(self) -> None:
        """A database as `manage.py migrate` makes it: made once by these tests, and copied."""
        self._make_home()
        shutil.copy(migrated(), self.home / "db.sqlite3")

    def add_sample(self) -> None:
        """As `migrate`, and with `minilm` as `manage.py add_sample` registers it: made once, and copied."""
        shutil.copytree(sampled(), self.home, dirs_exist_ok=True)
        self._make_home()

    def infer(self, *args: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.manage("infer", *args, "--json").stdout)
        return report

    def interrupt(self, *, timeout_s: float = 120) -> int:
        """Ctrl-C, then wait; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL of `manage.py up` itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def processes(self) -> list[psutil.Process]:
        """Every process of this stack, browsers included: their environment names its home."""
        mark = f"WEBPOOL_HOME={self.home}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                if mark in environ and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return [process for process in found if process.pid != os.getpid()]

    def zombies(self) -> list[psutil.Process]:
        """Dead children that a process of this stack did not collect."""
        found = []
        for parent in self.processes():
            with contextlib.suppress(psutil.Error):
                found += [
                    child for child in parent.children() if child.status() == psutil.STATUS_ZOMBIE
                ]
        return found

    def wait_gone(self, *, timeout_s: float = 30.0) -> list[psutil.Process]:
        """Wait until nothing is left; returns what is."""
        deadline = time.monotonic() + timeout_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.interrupt()

    def logs(self) -> str:
        """The tail of every log, for a failure's report."""
        files = [self.home / "up.log", *sorted((self.home / "logs").glob("*.log"))]
        tails = [
            f"== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files if f.exists()
        ]
        return "\n".join(tails)
