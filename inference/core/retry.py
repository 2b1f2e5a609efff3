"""What happens to a shard whose attempt failed: pure decision, carried out by the ledger."""

from __future__ import annotations

import dataclasses
import enum

from browsers.core.failures import Category, Retry


class Next(enum.StrEnum):
    """What to do with the shard."""

    RETRY_SAME = "retry_same"  # the error was transient: any browser, this one included
    MOVE = "move"  # prefer another browser; this one may serve again once it is repaired
    MOVE_FOR_GOOD = "move_for_good"  # this browser can never run it
    FAIL = "fail"


@dataclasses.dataclass(frozen=True)
class RetryDecision:
    next: Next
    reason: str


def decide(
    category: Category, *, attempts: int, max_retries: int, already_avoided: bool
) -> RetryDecision:
    """Decide from the error's category and the attempts made so far (claims, this one included).

    A transient error is tried once more on the same browser; when that fails too, the shard moves.
    """
    if category.retry is Retry.NEVER:
        return RetryDecision(Next.FAIL, f"{category} errors are the same everywhere")
    if attempts > max_retries:
        return RetryDecision(Next.FAIL, f"gave up after {attempts} attempts")
    if category.retry is Retry.NEVER_HERE:
        return RetryDecision(Next.MOVE_FOR_GOOD, f"{category}: this browser cannot run it")
    if category.retry is Retry.HERE and not already_avoided:
        return RetryDecision(Next.RETRY_SAME, f"{category} errors may pass")
    return RetryDecision(Next.MOVE, f"{category}: another browser goes on")
