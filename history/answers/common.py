"""What all answers share: the readers' copy and its age, names that are checked, numbers that JSON knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from history import recording, vocabulary
from history.core.samples import MODEL_TYPES, PLATFORMS
from history.errors import Refused

if TYPE_CHECKING:
    from history.store import Snapshot


def snapshot() -> Snapshot:
    from history.store import latest  # DuckDB: only for those who need it

    return latest(recording.history_path())


def age(history: Snapshot) -> dict[str, Any]:
    return {"as_of": iso(history.as_of), "age_s": history.age_s(timezone.now())}


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def check(
    *, browser: str | None = None, model_type: str | None = None, platform: str | None = None
) -> None:
    for name, value, allowed in (
        ("browser", browser, vocabulary.browsers()),
        ("model_type", model_type, MODEL_TYPES),
        ("platform", platform, PLATFORMS),
    ):
        if value is not None and value not in allowed:
            raise Refused(f"{name} {value!r}: expected one of {', '.join(allowed)}")


def document(answer: Any) -> Any:
    """The answer with None in place of numbers that are not finite: those JSON does not know.

    They come of measurements near the ends of what a double holds.
    """
    if isinstance(answer, float):
        return answer if math.isfinite(answer) else None
    if isinstance(answer, Mapping):
        return {key: document(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [document(value) for value in answer]
    return answer
