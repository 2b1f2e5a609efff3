"""A wire to the store that holds back what is said from some words on, as long as the one who says it lives.

So a process can be killed between two things that it says, whichever they are.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings


class Relay:
    """Passes everything on until a piece has `words`: that piece, and what follows it, never comes.

    `url`: where it is asked; `held`: set once it holds something back.
    """

    def __init__(self, path: Path, words: bytes) -> None:
        self.url, self.held = f"unix://{path}", threading.Event()
        self._words, self._open = words, list[socket.socket]()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                theirs = _store()
                self._open += [ours, theirs]
                for way in ((ours, theirs, self._words), (theirs, ours, b"")):
                    threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, words: bytes) -> None:
        before = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                before = (before + piece)[-len(piece) - len(words) :]
                if words and words in before:
                    self.held.set()
                    return
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


def _store() -> socket.socket:
    """A connection to the tests' own store."""
    at = urlsplit(settings.WEBPOOL_REDIS_URL)
    if at.scheme != "unix":
        return socket.create_connection((at.hostname or "127.0.0.1", at.port or 6379))
    made = socket.socket(socket.AF_UNIX)
    made.connect(at.path)
    return made


@contextlib.contextmanager
def relay(words: str) -> Iterator[Relay]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        made = Relay(Path(folder) / "relay", words.encode())
        try:
            yield made
        finally:
            made.close()
