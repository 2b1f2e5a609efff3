"""Hands over to history what it was told, for ever; prints a line each time."""

from inference.client.opening import set_up_django

set_up_django()

from inference.store import outbox  # noqa: E402  it needs Django

while True:
    print(outbox.hand_over(), flush=True)
