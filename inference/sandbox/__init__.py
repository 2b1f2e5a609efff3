"""What a stranger's file needs done (onnxruntime, tokenizers, npz, Parquet), done in a process of its own.

1. `ask` or `opened` starts a job by its name in a child, hands it files to read and a folder to write to,
   and gives its answer back: a JSON document and arrays, never code.
2. The child has limits (`limits`) and no rights (`confinement`). It is forked by a helper that has
   onnxruntime loaded already (`helper`, `server`), so that a job costs some 20 ms more than in place.
3. Jobs wait for a place, by owner (`places`): one caller's many hold up no other's.
4. What the child dies of is told as `Ended`; what its job refuses as `Refused`. Both are the caller's.
"""

from __future__ import annotations

from inference.sandbox.asking import MEDIA, PLACES, Ended, Failed, Refused, Session, ask, opened
from inference.sandbox.frames import Answer
from inference.sandbox.limits import Limits, limits_for
from inference.sandbox.places import Places, on_behalf_of, speak_for, spoken_for

__all__ = [
    "MEDIA",
    "PLACES",
    "Answer",
    "Ended",
    "Failed",
    "Limits",
    "Places",
    "Refused",
    "Session",
    "ask",
    "limits_for",
    "on_behalf_of",
    "opened",
    "speak_for",
    "spoken_for",
]
