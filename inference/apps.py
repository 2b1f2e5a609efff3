from __future__ import annotations

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from history.acting import ACTED

        ACTED.connect(_write_down)


def _write_down(*, action: str, target: str, detail: str, done: bool, **_: object) -> None:
    """What operators have history do is in the audit log as what they do elsewhere."""
    from inference.models import Entrance
    from inference.store import audit

    audit.record(Entrance.COMMAND, audit.machine_user(), action, target, detail, done=done)
