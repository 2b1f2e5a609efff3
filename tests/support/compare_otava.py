"""Change points beside Apache Otava's, on made series with known breaks.

Otava wants other versions of numpy and scipy than webpool: give it an environment of its own.

    python -m venv /tmp/otava && /tmp/otava/bin/pip install apache-otava==0.8.0
    python -m tests.support.compare_otava /tmp/otava/bin/python
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from history.core.changepoints import change_points_of

# Kind of series → levels (median, length) of its parts.
KINDS: dict[str, list[tuple[float, int]]] = {
    "steady": [(10.0, 150)],
    "one break of 10 %": [(10.0, 75), (11.0, 75)],
    "one break of 25 %": [(10.0, 75), (12.5, 75)],
    "two breaks of 25 %": [(10.0, 50), (12.5, 50), (10.0, 50)],
    "a short episode of 50 %": [(10.0, 70), (15.0, 10), (10.0, 70)],
}
_SERIES = 40
_NEAR = 5
_OTAVA = """
import json, sys
from otava.analysis import compute_change_points
found = [[int(p.index) for p in compute_change_points(s, max_pvalue=%s)[0]] for s in json.load(sys.stdin)]
print(json.dumps(found))
"""


def made(levels: Sequence[tuple[float, int]], seed: int, *, outliers: bool) -> list[float]:
    """Log-normal noise of 10 %, outliers in one value of twenty."""
    rng = np.random.default_rng(seed)
    noise = np.exp(0.1 * rng.normal(size=sum(n for _, n in levels)))
    late = 1 + outliers * (rng.random(noise.size) < 0.05) * rng.exponential(1.0, noise.size)
    return list(np.concatenate([np.full(n, level) for level, n in levels]) * noise * late)


def tally(levels: Sequence[tuple[float, int]], found: Sequence[Sequence[int]]) -> str:
    """Breaks found within five values, of those there are; and reports that are none."""
    breaks = list(np.cumsum([n for _, n in levels])[:-1])
    hits = sum(any(abs(i - b) <= _NEAR for i in indices) for indices in found for b in breaks)
    false = sum(all(abs(i - b) > _NEAR for b in breaks) for indices in found for i in indices)
    return f"{hits} of {len(breaks) * len(found)}, {false} false"


def main(otava_python: str) -> None:
    """Prints a table."""
    print(
        "| series (40 of each) | webpool | Otava, p < 0.001 | Otava, p < 0.05 |\n|---|---|---|---|"
    )
    for outliers in (False, True):
        for name, levels in KINDS.items():
            series = [made(levels, seed, outliers=outliers) for seed in range(_SERIES)]
            ours = [
                [point.index for point in points]
                for points in change_points_of([np.array(s) for s in series])
            ]
            columns = [tally(levels, ours)]
            for level in (0.001, 0.05):
                theirs = subprocess.run(
                    [otava_python, "-c", _OTAVA % level],
                    input=json.dumps(series), capture_output=True, text=True, check=True,
                )  # fmt: skip
                columns.append(tally(levels, json.loads(theirs.stdout)))
            print(
                f"| {name}{', outliers' if outliers else ''} | {' | '.join(columns)} |", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1])
