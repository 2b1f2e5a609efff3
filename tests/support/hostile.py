"""Bodies of requests that nobody should send."""

from __future__ import annotations

import json
from typing import Any

JSON = {"Content-Type": "application/json"}
HUGE = "@huge@"  # replaced by a number that Python itself refuses to write


def body_of(document: Any) -> bytes:
    return json.dumps(document).replace(f'"{HUGE}"', "9" * 5000).encode()
