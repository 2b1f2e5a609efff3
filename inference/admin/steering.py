"""Actions on rows that have an owner: their own anybody steers, those of others who may, as at every door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from django.contrib import messages
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from inference import auth
from inference.admin.audit import tell
from inference.errors import WebpoolError
from inference.models import Comparison
from inference.models.batches import BatchJob
from inference.store.paths import sayable

Owned = TypeVar("Owned", BatchJob, Comparison)


def steer(
    page: ModelAdmin,
    request: HttpRequest,
    rows: Iterable[Owned],
    action: str,
    do: Callable[[Owned], bool],
    *,
    permission: str,
) -> int:
    """Do it to each row that is the person's own, or any where they have the permission.

    What came of each is in the audit log; why it was not done is said on the page. Returns to how many it was
    done: `do` says of each whether it was.
    """
    caller, count = auth.person(request), 0
    for row in rows:
        try:
            auth.check_owner(caller, row.owner, permission)
            done = do(row)
            tell(request, action, row, "" if done else row.state, done=done)
            count += done
        except WebpoolError as error:
            tell(request, action, row, str(error), done=False)
            page.message_user(request, sayable(str(error)), messages.ERROR)
    return count
