"""A process that has imported what commands need, and becomes a copy of itself for each one that is run.

    python -m tests.support.scripts.commands DESCRIPTOR HOME

On that socket come packets: a command's words as JSON, with where its output, its errors and its exit status
go. It has the environment that the commands have, and ends when the socket's other end is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import socket
import sys

READY = b"ready"
HOME = "WEBPOOL_HOME"
_MOST_PACKET = 2**17
# Imported by commands when they need it.
_LATER = (
    "inference.catalog.registry",
    "inference.runs.answers",
    "inference.runs.creation",
    "inference.sandbox.asking",
    "inference.scheduling.dispatch",
    "kombu.transport.redis",
    "redis.asyncio",
)


def prepare() -> None:
    """All but connections, threads and files: copies would share them."""
    import django

    from browsers.locations import ROOT
    from browsers.supervisor.sibling import threads
    from webpool_site.celery import app

    django.setup()
    app.finalize()
    for path in sorted(ROOT.glob("*/management/commands/[a-z]*.py")):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in _LATER:
        importlib.import_module(name)
    assert threads() == 1, "a copy would lack the others"
    gc.collect()
    gc.freeze()


def serve(channel: socket.socket) -> list[str] | None:
    """Until the socket ends: None. In a copy: the words of its command."""
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not channel:
                selector.unregister(key.fileobj)
                _report(*key.data)
                continue
            packet, files, _, _ = socket.recv_fds(channel, _MOST_PACKET, 3)
            if not packet:
                return None
            output, errors, status = files
            if (pid := os.fork()) == 0:
                selector.close()
                channel.close()
                os.close(status)
                os.dup2(output, 1)
                os.dup2(errors, 2)
                words: list[str] = json.loads(packet)
                return words
            os.close(output)
            os.close(errors)
            os.write(status, f"{pid} ".encode())
            ended = os.pidfd_open(pid)
            selector.register(ended, selectors.EVENT_READ, (pid, ended, status))


def _report(pid: int, ended: int, status: int) -> None:
    os.close(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # who asked has given up
        os.write(status, f"{code}\n".encode())
    os.close(status)


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        # Before anything is imported that looks.
        os.environ[HOME] = sys.argv[2]
        os.environ["DJANGO_SETTINGS_MODULE"] = "webpool_site.settings"
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        sys.argv = ["manage.py"]
        prepare()
        del os.environ["OPENBLAS_NUM_THREADS"]
        channel.send(READY)
        us = os.getpid()
        words = serve(channel)
    if words is not None:
        from browsers.supervisor.sibling import die_with
        from webpool_site import command_line

        die_with(us)
        sys.argv = ["manage.py", *words]
        command_line.main()


if __name__ == "__main__":
    main()
