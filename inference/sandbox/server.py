"""The helper: has the libraries loaded, and forks a child for each job. Ends with who started it.

    python -m inference.sandbox.server DESCRIPTOR

It has one thread, so that a fork copies all of it. On the socket it is given come packets: `open` with the
job's own socket and a pipe for the child's end, or `end`, which kills a child.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

# What jobs have in common; what only some need, they import themselves.
import numpy.random  # noqa: F401
import onnx.inliner
import onnx.shape_inference
import onnxruntime  # noqa: F401
import tokenizers  # noqa: F401

from inference.documents import JsonView
from inference.sandbox import confinement, jobs
from inference.sandbox.helper import READY
from inference.sandbox.jobs import (  # noqa: F401
    answering,
    comparing,
    cutting,
    loading,
    reading,
    tables,
    texts,
    tokens,
    trying,
)

_MOST_PACKET: Final = 2**17


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._pids: dict[int, int] = {}  # a job's number → its child

    def serve(self) -> None:
        """Until the other end is closed."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._ended(key)
                elif not self._told():
                    return

    def _told(self) -> bool:
        packet, fds, _, _ = socket.recv_fds(self._control, _MOST_PACKET, 2)
        if not packet:
            return False
        order = json.loads(packet)
        if "end" in order:
            if (pid := self._pids.get(order["end"])) is not None:
                os.kill(pid, signal.SIGKILL)
            return True
        job, status = fds
        pid = os.fork()
        if pid == 0:
            _child(job, order)
        os.close(job)
        self._pids[order["open"]] = pid
        self._selector.register(
            os.pidfd_open(pid), selectors.EVENT_READ, (order["open"], pid, status)
        )
        return True

    def _ended(self, key: selectors.SelectorKey) -> None:
        number, pid, status = key.data
        self._selector.unregister(key.fileobj)
        os.close(key.fd)
        _, code = os.waitpid(pid, 0)
        del self._pids[number]
        with contextlib.suppress(OSError):  # who asked may be gone
            os.write(status, json.dumps({"code": os.waitstatus_to_exitcode(code)}).encode())
        os.close(status)


def _child(job: int, order: JsonView) -> None:
    """Do one job; never returns."""
    code = 1
    try:
        os.dup2(job, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        silence = os.open(os.devnull, os.O_WRONLY)
        confinement.confine(**order["confine"])
        os.dup2(silence, 2)  # what libraries print of a stranger's file belongs into no log
        jobs.serve(socket.socket(fileno=3))
        code = 0
    except BaseException as error:
        os.write(2, f"a sandboxed job could not be done: {error!r}\n".encode())
    finally:
        os._exit(code)


def _warm_up() -> None:
    """What a library makes when it is first used, each child would make anew."""
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    kind = onnx.TensorProto.FLOAT
    x, y = (onnx.helper.make_tensor_value_info(name, kind, [1]) for name in "xy")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "none", [x], [y]))
    onnx.checker.check_model(model)
    onnx.shape_inference.infer_shapes(model)
    onnx.inliner.inline_local_functions(model)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    # A working directory that is gone: no relative name leads anywhere, and nothing can be put there.
    empty = tempfile.mkdtemp()
    os.chdir(empty)
    Path(empty).rmdir()
    _warm_up()
    control.send(READY)
    _Server(control).serve()


if __name__ == "__main__":
    main()
