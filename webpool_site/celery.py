"""The Celery application: control, history and one queue per browser.

The database is the truth and Celery the carrier: messages carry ids only and are not acknowledged.
A message that is lost, late or doubled meets the ledger's fence (inference/ledger/results.py) and the sweep.
"""

from __future__ import annotations

import os
import sys
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import task_postrun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")

from django.conf import settings
from django.db import close_old_connections

from browsers.queues import CONTROL_QUEUE, HISTORY_QUEUE


def broker_url(url: str) -> str:
    """kombu spells a Redis unix socket `redis+socket://`, redis-py `unix://`."""
    return url.replace("unix://", "redis+socket://", 1)


# A pool of root's has browsers of a user of their own, and its messages are JSON of its own.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("webpool")
app.conf.update(
    broker_url=broker_url(settings.WEBPOOL_REDIS_URL),
    result_backend=broker_url(settings.WEBPOOL_REDIS_URL),
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=2,
    # No acknowledgements, which cost two round trips per hop: redelivery is the sweep's work, which
    # knows from the ledger what a dead worker held.
    # Of a connection that went silent kombu hears within 50 s: twice this, and a wait for messages
    # (webpool_site/children/waiting.py).
    broker_transport_options={"ack_emulation": False, "health_check_interval": 20},
    # A broker that is gone for longer is the sweep's matter: nobody waits for it in the middle of a request.
    result_backend_transport_options={
        "retry_policy": {
            "max_retries": 3,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        }
    },
    task_default_queue=CONTROL_QUEUE,
    # It asks native onnxruntime first, which nothing in the control worker may wait for.
    task_routes={"inference.tasks.compare_model": {"queue": HISTORY_QUEUE}},
    task_ignore_result=True,
    task_acks_late=False,
    task_serializer="json",
    accept_content=["json"],
    result_expires=900,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_enable_remote_control=False,
    beat_scheduler=settings.CELERY_BEAT_SCHEDULER,
    timezone="UTC",
    # Celery would close the database connection before and after each task, and a new one costs half a
    # millisecond; `close_old_connections` closes those that broke.
    CELERY_DB_REUSE_MAX=sys.maxsize,
)
task_postrun.connect(lambda **_: close_old_connections(), weak=False)
app.autodiscover_tasks(["inference", "browsers", "history"])
