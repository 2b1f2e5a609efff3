"""What history answers: the same documents over REST, on the command line, in the admin and in Python.

Measurements come from the readers' copy of the history file, and each answer says how old it is (`as_of`,
UTC; null: nothing was recorded yet). Recommendations, scores and regressions are rows that the last
recomputation published; each has its own time.
"""

from __future__ import annotations

from history.answers.measured import (
    MOST_SAMPLES,
    Line,
    compare,
    detect_anomalies,
    found_anomalies,
    performance,
    timelines,
    trends,
)
from history.answers.published import recommendation, regressions, scores

__all__ = [
    "MOST_SAMPLES",
    "Line",
    "compare",
    "detect_anomalies",
    "found_anomalies",
    "performance",
    "recommendation",
    "regressions",
    "scores",
    "timelines",
    "trends",
]
