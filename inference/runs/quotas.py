"""What one tenant may have of the pool, and all batch jobs together, so that the others get theirs.

Only keys and people are told apart (`core/tenants.py`).
"""

from __future__ import annotations

from django.conf import settings
from django.db.models import QuerySet

from inference.catalog import plans
from inference.core.tenants import BATCH, is_counted, is_of_batch
from inference.errors import Busy
from inference.models import Comparison, Redundancy, Run
from inference.models.batches import BatchJob
from inference.store.sql.running import rows
from inference.store.sql.statements import read_sql

_ACTIVE, _OF_BATCHES = read_sql("tenant_runs"), read_sql("batch_runs")
COME_BACK_S = 5.0


def check_shards(shards: int | None, copies: int, redundancy: str) -> None:
    """Refuse a run of more steps than one run may have, before anything is cut for it.

    Raises:
        InvalidRequest.
    """
    plans.check_size((shards or 1) * copies * (2 if redundancy == Redundancy.FIRST else 1))


def admit_run(run: Run) -> None:
    """Let one more run in; in the transaction that counts all runs.

    Raises:
        Busy: as `admit`; or it is of a batch job, and there is no room for more of those.
    """
    admit(run.tenant)
    if is_of_batch(run.owner) and room_for_batches(run.tenant) < 1:
        raise Busy(no_room_for_batches(), retry_after_s=COME_BACK_S)


def admit(tenant: str, count: int = 1) -> None:
    """Let the tenant have one more run or text; in the transaction that counts all of them.

    Args:
        count: as how many it counts; who has nothing else under way may have one that counts as more.

    Raises:
        Busy: as many of theirs are active as settings.WEBPOOL_MAX_RUNS_PER_OWNER allows.
    """
    if not is_counted(tenant):
        return
    active, most = _active(tenant), settings.WEBPOOL_MAX_RUNS_PER_OWNER
    if active >= most or (active and active + count > most):
        raise Busy(
            f"{active} runs of {tenant} are active, those of their batch jobs and each standby of a text "
            f"as one more, this one counts as {count}; the limit for one owner is {most} "
            "(WEBPOOL_MAX_RUNS_PER_OWNER); send it again later",
            retry_after_s=COME_BACK_S,
        )


def admit_kept(
    owner: str, running: QuerySet[BatchJob] | QuerySet[Comparison], what: str, *, limit: str
) -> None:
    """Let the owner have one more of what goes on without them, such as a batch job.

    Args:
        running: of all owners, those that have not ended.
        what: what they are, for the refusal.
        limit: the setting that says how many one owner may have.

    Raises:
        Busy: as many of theirs run.
    """
    if not is_counted(owner):
        return
    most, mine = getattr(settings, limit), running.filter(owner=owner).count()
    if mine >= most:
        raise Busy(
            f"{mine} {what} of {owner} run, the limit for one owner is {most} ({limit}); cancel one or "
            "wait until one has ended",
            retry_after_s=COME_BACK_S,
        )


def room_for_batches(tenant: str) -> int:
    """How many runs batch jobs of the tenant may have besides those they have; 0: they wait.

    All batch jobs together have half of what may be active, those of one tenant half of what that one may
    have: the rest is for runs that somebody waits for.
    """
    ((of_all, of_theirs),) = rows(_OF_BATCHES, [tenant, f"{BATCH}%"])
    room = _half(settings.WEBPOOL_MAX_ACTIVE_RUNS) - of_all
    if is_counted(tenant):
        most = settings.WEBPOOL_MAX_RUNS_PER_OWNER
        room = min(room, _half(most) - of_theirs, most - _active(tenant))
    return max(room, 0)


def no_room_for_batches() -> str:
    """Why batches wait where there is no room for them."""
    return (
        f"batch jobs may have {_half(settings.WEBPOOL_MAX_ACTIVE_RUNS)} active runs together, half of "
        f"WEBPOOL_MAX_ACTIVE_RUNS, and those of one owner "
        f"{_half(settings.WEBPOOL_MAX_RUNS_PER_OWNER)}, half of WEBPOOL_MAX_RUNS_PER_OWNER, or what "
        "their owner's other runs leave; waiting for some of them to end"
    )


def _active(tenant: str) -> int:
    ((active,),) = rows(_ACTIVE, [tenant, tenant])
    return int(active)


def _half(most: int) -> int:
    return max(1, most // 2)
