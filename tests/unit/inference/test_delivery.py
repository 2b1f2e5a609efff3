"""Messages of a task with the short strategy, taken up by a Celery worker that was built and not started."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.trace import reset_worker_optimizations

from inference.tasks import run_shard
from webpool_site.celery import app as ours


class _Worker:
    """Its one task writes down what it was called with, and fails at a negative step."""

    def __init__(self) -> None:
        self.app = Celery("delivery", broker="memory://", set_as_current=False)
        self.app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
        self.called: list[tuple[int, int]] = []
        self.acknowledged = 0
        self.celerys: list[str] = []

        def step(step_id: int, fence: int) -> None:
            assert self.acknowledged > len(self.called)  # before it is begun: the ledger has it
            self.called.append((step_id, fence))
            if step_id < 0:
                raise ValueError("no such step")

        short: Any = type("_Short", (Task,), {"Strategy": run_shard.Strategy})
        self.step = self.app.task(base=short, name=f"step {uuid.uuid4()}")(step)
        worker: Any = self.app.Worker(pool="solo")
        worker.consumer.on_task_request = lambda request: self.celerys.append(request.id)
        self._take_up = self.step.start_strategy(self.app, worker.consumer)

    def next_message(self) -> None:
        """Take up the next message of the queue."""
        with self.app.connection_for_read() as connection:
            self._take_up(
                connection.SimpleQueue("celery").get(timeout=5), None, self._ack, None, []
            )

    def _ack(self, *_: object) -> None:
        self.acknowledged += 1


@pytest.fixture
def worker() -> Iterator[_Worker]:
    """To be built makes its app the process' own."""
    yield _Worker()
    reset_worker_optimizations(ours)
    ours.set_current()
    ours.set_default()


def test_a_step_is_acknowledged_and_done_and_one_that_fails_is_told_the_log_alone(
    worker: _Worker, caplog: pytest.LogCaptureFixture
) -> None:
    for step_id in (1, -1, 2):
        worker.step.apply_async((step_id, 7))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            worker.next_message()
    assert worker.called == [(1, 7), (-1, 7), (2, 7)]
    assert worker.acknowledged == 3
    assert [record.exc_text for record in caplog.records if "no such step" in str(record.exc_text)]
    assert not worker.celerys


def test_what_celery_counts_or_delays_goes_its_way(worker: _Worker) -> None:
    member = worker.step.apply_async((1, 7), group_id="a chord's")
    late = worker.step.apply_async((2, 7), expires=600)
    worker.next_message()
    worker.next_message()
    assert worker.celerys == [member.id, late.id]
    assert not worker.called
