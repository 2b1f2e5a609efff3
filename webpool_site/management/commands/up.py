"""manage.py up: run the pool and its web server until Ctrl-C; afterwards no process is left."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from browsers import locations
from browsers.processes import OPEN_DOOR, OPEN_DOOR_REMEDY, containment, identity
from browsers.supervisor import State
from inference.graph.atomic import atomic_write
from inference.management.cli import WebpoolCommand
from webpool_site.setup import admin_user, database
from webpool_site.stack import Stack, StackError

_STARTING_S, _AT_WORK_S = 0.2, 1.0
"""How often it looks whether the pool serves, or has stopped by itself; Ctrl-C is heard at once."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Command(WebpoolCommand):
    help = "Run the pool, its workers and its web server until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="default: PORT or 8000")
        parser.add_argument("--host", default=settings.WEBPOOL_HOST, help="default: loopback")
        parser.add_argument(
            "--browsers",
            default=settings.WEBPOOL_BROWSERS,
            help="auto, or kinds with how many of each, such as chromium,firefox:2",
        )
        parser.add_argument(
            "--ready-file",
            type=Path,
            help="written when the pool serves, as JSON: how many browsers are ready, and why not more",
        )
        parser.add_argument(
            "--adaptive",
            action="store_true",
            default=settings.WEBPOOL_POOL_ADAPTIVE,
            help="start with these browsers and add or remove some as the work needs",
        )
        parser.add_argument("--no-web", action="store_true", help="run without the web server")

    def handle(self, *_: Any, **options: Any) -> None:
        stack = Stack(
            browsers=options["browsers"],
            host=options["host"],
            port=options["port"],
            web=not options["no_web"],
            out=self._say,
            adaptive=options["adaptive"],
        )
        logging.getLogger("browsers.supervisor").setLevel(logging.ERROR)  # the table says it
        asked = threading.Event()

        def on_signal(number: int, _frame: object) -> None:
            if asked.is_set():
                stack.kill()
            asked.set()

        before = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            self._run(stack, asked, options["ready_file"])
        finally:
            stack.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        self._say("stopped; no process is left")

    def _run(self, stack: Stack, asked: threading.Event, ready_file: Path | None) -> None:
        database.migrate()
        self._say(f"starting the pool in {settings.WEBPOOL_HOME}")
        self._warn()
        if reaped := stack.start():
            self._say(f"  an earlier pool left these running, now killed: {', '.join(reaped)}")
        waiter = _Waiter(stack)
        waiter.start()
        announced = False
        while not asked.wait(_AT_WORK_S if announced else _STARTING_S):
            if stack.wait_stopped(0) or waiter.failed is not None:
                raise StackError(stack.failure or waiter.failed or "the pool stopped by itself")
            if waiter.done and not announced:
                announced = True
                browsers = self._announce(stack, waiter.browsers_missing)
                if ready_file is not None:
                    facts = {"browsers": browsers, "missing": waiter.browsers_missing}
                    with atomic_write(
                        ready_file
                    ) as file:  # who reads it finds nothing or everything
                        file.write(json.dumps(facts).encode())
        self._say("stopping …")

    def _warn(self) -> None:
        try:
            private, user = containment().private_network, identity()
        except ValueError as error:
            raise StackError(str(error)) from error
        if not private:
            self._say(f"  warning: {OPEN_DOOR}; {OPEN_DOOR_REMEDY}")
        if user is None and os.geteuid() == 0:
            self._say("  warning: browsers run as root, and Chromium without its sandbox")

    def _announce(self, stack: Stack, missing: str) -> int:
        """Say that the pool serves; returns how many browsers are ready."""
        ready = [child for child in stack.status() if child.state is State.READY]
        browsers = sum(child.name.startswith("browser.") for child in ready)
        self._say(f"webpool is ready: {browsers} of {len(stack.layout.browsers)} browsers")
        if missing:
            self._say(f"  {missing}")
        if stack.layout.web:
            self._say(f"  admin   {stack.address}/admin/")
            self._say(f"  API     {stack.address}/api/docs/")
        try:
            if credentials := admin_user.ensure():
                self._say(f"  log in as {credentials} (shown only this once)")
        except DatabaseError as error:
            self._say(
                f"  the admin user was not made: {error}; `{locations.PROGRAM} setup` makes it later"
            )
        self._say(f"  logs    {stack.log_dir}")
        self._say("Ctrl-C stops everything")
        return browsers

    def _say(self, text: str) -> None:
        """To a terminal that is gone, or a file on a full disk, nothing can be said: the pool goes on."""
        with contextlib.suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()


class _Waiter(threading.Thread):
    """Waits for the pool while the main thread listens for Ctrl-C.

    A browser that does not start is tried again for ever, so that only the others' failure ends it.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="wait-ready", daemon=True)
        self._stack = stack
        self.done = False
        self.failed: str | None = None
        self.browsers_missing = ""

    def run(self) -> None:
        try:
            self._stack.wait_ready(browsers=0)
        except StackError as error:
            self.failed = str(error)
            return
        try:
            self._stack.wait_ready(settings.WEBPOOL_BROWSER_START_S)
        except StackError as error:
            self.browsers_missing = str(error)
        self.done = True
