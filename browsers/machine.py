"""The machine that asks, and its Redis, as they are now; null where something cannot be measured."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from typing import Any

import psutil
import redis.exceptions
from django.conf import settings

from browsers.redis import client

_MB = 2**20


def machine_facts() -> dict[str, Any]:
    """Cores, memory, load and the disk that holds the home."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(settings.WEBPOOL_HOME)
    load_1m, load_5m, load_15m = os.getloadavg()
    return {
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "load_1m": load_1m,
        "load_5m": load_5m,
        "load_15m": load_15m,
        "memory_total_mb": memory.total / _MB,
        "memory_available_mb": memory.available / _MB,
        "memory_used_percent": memory.percent,
        "disk_total_mb": disk.total / _MB,
        "disk_free_mb": disk.free / _MB,
    }


def redis_facts(queues: Sequence[str]) -> dict[str, Any]:
    """Memory of the server, its cap (null: none is set), and how many messages wait in each queue.

    `answers` is false, and the rest null, while the server does not answer.
    """
    try:
        pipe = client().pipeline(transaction=False)
        pipe.info("memory")
        for queue in queues:
            pipe.llen(queue)
        memory, *lengths = pipe.execute()
    except redis.exceptions.RedisError:
        return {"answers": False, "used_mb": None, "cap_mb": None, "queues": None}
    cap = memory.get("maxmemory")
    return {
        "answers": True,
        "used_mb": memory["used_memory"] / _MB,
        "cap_mb": cap / _MB if cap else None,
        "queues": dict(zip(queues, lengths, strict=True)),
    }
