"""The fork server: a process that has imported everything once, and becomes the pool's processes.

    python -m browsers.supervisor.fork_server <module> <descriptor> [room]

It imports <module>, says at the socket <descriptor> that it is ready, and forks a child for each message
that comes there. The child is the supervisor's own (sibling.py): it ends with that one, not with the fork
server. With each message come the child's log and its line, a socket at which the child says its id and is
told what to run, as JSON: `argv` (module and arguments), `env`, `cwd`. A child whose line ends before that
is not wanted any more, and ends.

`multiprocessing.forkserver` is the parent of what it forks: its death would take the pool along.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import traceback
from typing import Any

from browsers.supervisor import command_line
from browsers.supervisor.sibling import NotAlone, die_with, fork_sibling, threads

READY = b"r"


def main(module: str, descriptor: int) -> None:
    parent = os.getppid()
    command_line.rewrite([sys.executable, "-m", "browsers.supervisor.fork_server", module])
    importlib.import_module(module)
    if threads() != 1:
        raise NotAlone(
            f"{module} was imported and there are {threads()} threads, expected one: a library started "
            "them, and copies of this process would lack them. Find it, and import it later"
        )
    # What is here now stays shared with the children: nobody looks through it for garbage.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as channel:
        channel.send(READY)
        job = serve(channel, parent)
    if job is not None:
        run(job)


def serve(channel: socket.socket, parent: int) -> dict[str, Any] | None:
    """Fork until the channel ends: None. In a child: what it is to run."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 1, 2, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return None
        log, line = descriptors
        if fork_sibling() == 0:
            try:
                return _begin(channel, log, line, parent)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(log)
        os.close(line)


def _begin(channel: socket.socket, log: int, line: int, parent: int) -> dict[str, Any]:
    """The child as one that was started as a program: its session, its output, and no other's sockets."""
    die_with(parent)
    os.setsid()
    channel.close()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with socket.socket(fileno=line) as told, told.makefile("rw") as words:
        words.write(f"{os.getpid()}\n")
        words.flush()
        text = words.readline()
    if not text.endswith("\n"):  # the supervisor does not want it any more
        os._exit(0)
    job: dict[str, Any] = json.loads(text)
    return job


def run(job: dict[str, Any]) -> None:
    """What `python -m` does with a module and its arguments."""
    command_line.rewrite([sys.executable, "-m", *job["argv"]])
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.argv = list(job["argv"])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
