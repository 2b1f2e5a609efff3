"""What a WebGPU adapter says of itself, and whether it is a program instead of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SOFTWARE: Final = ("swiftshader", "llvmpipe", "lavapipe", "softpipe", "warp", "basic render")


def adapter_name(info: Mapping[str, Any] | None) -> str | None:
    """A name for people: what the browser tells of vendor, architecture, device and description."""
    if info is None:
        return None
    told = (str(info.get(key) or "") for key in ("vendor", "architecture", "device", "description"))
    return " ".join(part for part in told if part) or "undisclosed"


def is_software(info: Mapping[str, Any] | None) -> bool | None:
    """True for a software adapter, by its own flag or its name; None where neither tells."""
    if info is None:
        return None
    name = (adapter_name(info) or "").lower()
    if info.get("fallback") or any(known in name for known in _SOFTWARE):
        return True
    return None if info.get("fallback") is None else False
