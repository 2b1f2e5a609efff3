"""Whether onnxruntime-web, in node, loads a model: what it refuses, every browser would."""

from __future__ import annotations

import json
import os
import struct
import subprocess

from browsers.lifeline import dies_with_parent
from inference.documents import JsonObject
from inference.graph.runtime import out_of_memory
from inference.sandbox.frames import Answer


class Loads:
    """One node with the runtime loaded; asked with a model's bytes."""

    def __init__(self, node: str, script: str, dist: str) -> None:
        self._node = subprocess.Popen(
            [*dies_with_parent(), node, script, dist],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # OpenSSL's configuration is the system's: it may not be read, and is not needed.
            env={"PATH": os.defpath, "OPENSSL_CONF": os.devnull},
        )

    def __call__(self, arrays: JsonObject) -> Answer:
        """{"refused": what it says}, or {"refused": ""}.

        Raises:
            EOFError: node ended before it could say anything.
        """
        raw = arrays["model"].tobytes()
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(struct.pack("<I", len(raw)) + raw)
        self._node.stdin.flush()
        line = self._node.stdout.readline()
        if not line:
            raise EOFError(f"node ended with exit status {self._node.wait()}")
        refused = str(json.loads(line)["refused"])
        if out_of_memory(RuntimeError(refused)):
            raise MemoryError
        return Answer({"refused": refused})
