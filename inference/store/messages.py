"""Tasks of the hot path, put into their queues as Celery puts them there.

Celery's `send_task` looks up routes, producers and serializers anew for each message and takes several times
longer than what Redis is asked to do. What is written here is the same message: a test holds them against
each other. Several go in one round trip.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from browsers.redis import ask
from inference.documents import JsonObject

_NOTHING_FOLLOWS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True)
class Message:
    """A task by its name, for the one queue that its worker reads; nobody waits for its result."""

    task: str
    queue: str
    args: tuple[int, ...]


def push(messages: Iterable[Message]) -> None:
    """Send them, in order, in one round trip.

    Raises:
        RedisError: nobody knows which of them were taken.
    """
    ask(*(("LPUSH", message.queue, envelope(message)) for message in messages))


def envelope(message: Message) -> str:
    """The message as JSON, as Celery's protocol 2 and kombu's Redis transport have it."""
    task_id = str(uuid.uuid4())
    body = json.dumps([message.args, {}, _NOTHING_FOLLOWS]).encode()
    document: JsonObject = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": message.task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": repr(message.args),
            "kwargsrepr": "{}",
            "origin": _origin(),
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": _reply_to(),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": message.queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": task_id,
        },
    }
    return json.dumps(document)


@functools.cache
def _origin() -> str:
    return f"gen{os.getpid()}@{socket.gethostname()}"


@functools.cache
def _reply_to() -> str:
    """Nobody listens there."""
    return str(uuid.uuid4())
