"""How a Celery worker waits for messages: longer at a time than kombu has it, and without holding its end up.

kombu asks the broker anew every second, in each of the pool's workers. What waits in the broker is told at
once however long was asked for; but a worker that ends waits for the broker's answer first, and then its
connection is closed instead. Loaded by the workers with `--include webpool_site.children.waiting`.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from celery import bootsteps
from kombu.transport.redis import Transport

from webpool_site.celery import app

_WAIT_S: Final = 10


class EndsAtOnce(bootsteps.StartStopStep):
    """Stops before what it requires: nobody waits for the answer to a question that is given up."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def stop(self, parent: Any) -> None:
        consumer = parent.task_consumer
        if consumer is None or consumer.channel is None:
            return
        waiting = (
            consumer.channel.client.connection
        )  # None: kombu has closed it, as when the broker is lost
        if waiting is not None:
            with contextlib.suppress(*consumer.channel.connection_errors):
                waiting.disconnect()


Transport.brpop_timeout = _WAIT_S
app.steps["consumer"].add(EndsAtOnce)
