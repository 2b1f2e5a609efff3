"""What the fork server imports, for all processes that it becomes (browsers/supervisor/fork_server.py).

Nothing stays open or running of it: no thread, no connection, no file. What one process alone needs, such as
the web server's views, that one imports: the browsers would wait for it.
"""

from __future__ import annotations

import importlib

import django

from browsers.processes import identity, user_namespaces
from webpool_site.celery import app

django.setup()
app.loader.import_default_modules()
app.finalize()

# Celery and this project import these when they are needed, and every worker needs them.
for _name in (
    "billiard.pool",
    "browsers.worker",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.beat",
    "celery.bin.celery",
    "celery.concurrency.solo",
    "celery.worker.consumer.consumer",
    "celery.worker.consumer.mingle",
    "inference.batches.feeder",
    "inference.ledger.lease_watch",
    "inference.scheduling.standbys",
    "inference.worker.execution",
    "inference.worker.loads",
    "kombu.matcher",
    "kombu.pidbox",
    "kombu.transport.redis",
    "packaging.version",
    "selenium.webdriver.remote.webdriver",
    "webpool_site.children.readiness",
    "webpool_site.children.waiting",
):
    importlib.import_module(_name)

# How browsers can be contained is found by trying, once for all their workers, also those that come later.
_user = identity()
user_namespaces(_user.uid if _user else None)
