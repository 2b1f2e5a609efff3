"""How a message for a step is taken up in the browser's worker: as by Celery's default strategy, made short.

Celery makes a request, a context, a result and a state of each task, and tells its signals: as much work as
to claim the step. A step's message has no result, no retries and no time of its own: the ledger has what
became of it. So a plain one is acknowledged and done. A member of a chord, whose end Celery counts, goes
Celery's way.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Final, Protocol

from celery import Celery, Task
from celery.worker.strategy import default
from django.db import close_old_connections
from kombu.message import Message

log = logging.getLogger(__name__)
Handler = Callable[..., object]
# What a message that Celery has to count, delay or throw away says in its headers.
_CELERYS_OWN: Final = ("group", "eta", "expires")


class Consumer(Protocol):
    """What is asked of Celery's."""

    connection_errors: tuple[type[Exception], ...]


def strategy(task: Task[[int, int], None], app: Celery, consumer: Consumer) -> Handler:
    """What Celery calls with each message for `task`; as `celery.worker.strategy.default`.

    A task that raises is logged; what it held is the sweep's.
    """
    celerys: Handler = default(task, app, consumer)
    errors = consumer.connection_errors

    def handle(
        message: Message, body: object, ack: Handler, reject: Handler, callbacks: object
    ) -> object:
        if body is not None or any(message.headers.get(name) for name in _CELERYS_OWN):
            return celerys(message, body, ack, reject, callbacks)
        ack(log, errors)
        try:
            (step_id, fence), _, _ = json.loads(message.body or "")
            task.run(step_id, fence)
        except Exception:
            log.exception("%s: a message came to nothing", task.name)
        finally:
            close_old_connections()
        return None

    return handle
