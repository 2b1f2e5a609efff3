"""Watches over texts for ever, as the control worker's thread does."""

import threading

from inference.client.opening import set_up_django

set_up_django()

from inference.generation import watch  # noqa: E402  it needs Django

watch.watch_forever(threading.Event())
