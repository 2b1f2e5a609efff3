"""The first admin user, with a random password that is shown once and stored only as a hash."""

from __future__ import annotations

import secrets

NAME = "admin"


def ensure() -> str | None:
    """Create the user when there is no superuser; returns `name / password`, else None."""
    from django.contrib.auth import get_user_model

    from inference.models import Entrance
    from inference.store import audit

    user_model = get_user_model()
    if user_model.objects.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    name = NAME
    while user_model.objects.filter(username=name).exists():
        name = f"{NAME}-{secrets.token_hex(2)}"
    user_model.objects.create_superuser(name, password=password)
    audit.record(Entrance.COMMAND, audit.machine_user(), "add", f"user {name}", "a superuser")
    return f"{name} / {password}"
