"""What can be asked of a sandboxed child: functions by their names. They run in the child alone.

A job takes what was asked as keywords and gives an `Answer`. One that is a class is asked again and again:
each time it is called. A ValueError is a refusal, which the caller is told.
"""

from __future__ import annotations

import importlib
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from inference.sandbox import frames

Job: TypeAlias = Callable[..., frames.Answer | None]
_HERE: Final = "inference.sandbox.jobs."
JOBS: Final = {
    "read": "reading:read",
    "work": "reading:work",
    "traits": "reading:traits",
    "cut": "cutting:cut",
    "convert": "checkpoints:convert",
    "beside": "checkpoints:beside",
    "stages": "decoding:stages",
    "answers": "answering:answers",
    "check_tokenizer": "tokens:check",
    "features": "sound:features",
    "tokens": "tokens:Tokens",
    "texts": "texts:Texts",
    "chat": "texts:Chat",
    "grammars": "guiding:Grammars",
    "guide": "guiding:Guide",
    "loads": "loading:Loads",
    "rows": "tables:Rows",
    "parquet": "columns:write",
    "results": "results:write",
    "compare": "comparing:reference_of",
    "try": "trying:attempt",
    "picture": "media:picture",
    "sound": "sound:samples",
    "arrays": "media:archive",
    "bodies": "bodies:Bodies",
    "declared": "bodies:declared",
}
GIVING_WAY: Final = frozenset(("bodies", "rows", "results", "parquet"))
"""One caller's large data, as often as they come."""


def serve(sock: socket.socket) -> None:
    """Do the job that comes first, and answer what is asked until the other side closes."""
    first = frames.receive(sock)
    if first is None:
        return
    job = _found(first.document["job"])
    if not isinstance(job, type):
        _say(sock, job, first)
        return
    made: list[Job] = []
    begun = _say(sock, lambda **given: made.append(job(**given)), first)
    held_mb = _held_mb()
    while begun and (asked := frames.receive(sock)) is not None:
        _say(sock, made[0], asked, held_mb)


def _found(name: str) -> Job:
    module, _, attribute = JOBS[name].partition(":")
    return getattr(importlib.import_module(_HERE + module), attribute)


def _held_mb() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _say(sock: socket.socket, job: Job, asked: frames.Answer, held_mb: float | None = None) -> bool:
    """Answer one question; whether there was an answer.

    `held_mb`: what it had in memory before the first one, beside which its growth is told.
    """
    given = dict(asked.document["given"])
    if asked.arrays:
        given["arrays"] = asked.arrays
    try:
        answer = job(**given) or frames.Answer(None)
        grown_mb = 0.0 if held_mb is None else _held_mb() - held_mb
        frames.send(sock, {"answer": answer.document, "grown_mb": grown_mb}, answer.arrays)
    except MemoryError:
        os._exit(frames.OUT_OF_MEMORY)  # there may be too little of it to say so
    except (ValueError, frames.BadFrame) as error:
        frames.send(sock, {"refused": str(error), "kind": type(error).__name__})
        return False
    except BrokenPipeError:
        return False
    except Exception as error:
        if isinstance(error, OSError) and error.errno in frames.FULL:
            frames.send(sock, {"full": error.errno})
            return False
        told = "".join(traceback.format_exception(error))[-4000:]
        frames.send(sock, {"failed": f"{type(error).__name__}: {error}"[:1000], "traceback": told})
        return False
    return True
