"""How many rows of a batch each part gets: in proportion to the speed of the browser that computes it."""

from __future__ import annotations

from collections.abc import Sequence


def shares(rows: int, row_ms: Sequence[float | None]) -> list[int]:
    """Split `rows` over browsers that need `row_ms` milliseconds per row; None where nobody measured it.

    A browser without a measurement counts as the average of the others. Each part gets at least one
    row; what rounding leaves goes to the largest remainders, earlier parts first. `rows` must be at
    least the number of parts.
    """
    if rows < len(row_ms):
        raise ValueError(f"{rows} rows cannot be split over {len(row_ms)} parts")
    known = [1 / ms for ms in row_ms if ms]
    usual = sum(known) / len(known) if known else 1.0
    speeds = [1 / ms if ms else usual for ms in row_ms]
    free = rows - len(speeds)  # after one row for each
    exact = [max(0.0, rows * speed / sum(speeds) - 1) for speed in speeds]
    scale = free / sum(exact) if sum(exact) else 0.0
    whole = [int(share * scale) for share in exact]
    remainders = sorted(range(len(speeds)), key=lambda i: (whole[i] - exact[i] * scale, i))
    for index in remainders[: free - sum(whole)]:
        whole[index] += 1
    return [1 + extra for extra in whole]
