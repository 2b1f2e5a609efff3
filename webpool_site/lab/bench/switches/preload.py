"""What the bench's fork server imports: what any pool's does, and what listens for the switches."""

from __future__ import annotations

import webpool_site.children.preload  # noqa: F401  (what it imports is what is wanted)
from webpool_site.lab.bench.switches import inside

inside.listen()
