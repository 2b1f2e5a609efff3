"""The audit log: each action of an operator is written down with its result, whichever door it came by."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count

from inference.models import AuditEntry, Entrance

KEPT: Final = timedelta(days=365)
MOST_OF_ONE: Final = 20_000


@dataclass
class Said:
    """What came of an action, in words; the door fills it in.

    `changed`: False where things are as they were, so that there is nothing to be written down.
    """

    detail: str = ""
    changed: bool = True


@contextmanager
def acting(door: Entrance, who: str, action: str, target: str) -> Iterator[Said]:
    """Write down what is done inside, and that it failed when it raises."""
    said = Said()
    try:
        yield said
    except Exception as error:
        record(door, who, action, target, str(error) or type(error).__name__, done=False)
        raise
    if said.changed:
        record(door, who, action, target, said.detail)


def record(
    door: Entrance, who: str, action: str, target: str, detail: str = "", *, done: bool = True
) -> None:
    """Write one entry; words too long for their column are cut, what no row can hold is spelt out."""
    who, action, target, detail = map(_kept, (who, action, target, detail))
    AuditEntry.objects.create(
        door=door, who=who[:160], action=action[:64], target=target[:255], detail=detail, done=done
    )


def _kept(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def machine_user() -> str:
    """Who runs this process, for doors that ask for no login."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def forget_old_entries(now: datetime) -> int:
    """Delete entries older than a year, and of each who the oldest beyond the number kept; returns how many.

    So nobody's many actions push another's out.
    """
    count, _ = AuditEntry.objects.filter(at__lt=now - KEPT).delete()
    rows = AuditEntry.objects.order_by().values("who").annotate(rows=Count("pk"))
    for who in rows.filter(rows__gt=MOST_OF_ONE).values_list("who", flat=True):
        theirs = AuditEntry.objects.filter(who=who).order_by("-pk").values_list("pk", flat=True)
        surplus, _ = AuditEntry.objects.filter(who=who, pk__lte=theirs[MOST_OF_ONE]).delete()
        count += surplus
    return count
