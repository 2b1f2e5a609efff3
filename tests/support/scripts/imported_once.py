"""Imported by a fork server in tests: all that it forks have the same token."""

from __future__ import annotations

import uuid

TOKEN = uuid.uuid4().hex
