"""Software adapters are recognised by their flag or their name."""

from __future__ import annotations

from typing import Any

import pytest

from browsers.core.adapters import adapter_name, is_software


@pytest.mark.parametrize(
    ("info", "name", "software"),
    [
        (None, None, None),
        (
            {"vendor": "google", "architecture": "swiftshader", "fallback": True},
            "google swiftshader",
            True,
        ),
        ({"vendor": "mesa", "description": "llvmpipe (LLVM 15)", "fallback": None}, None, True),
        ({"vendor": "", "fallback": True}, "undisclosed", True),
        ({"vendor": "nvidia", "architecture": "ampere", "fallback": False}, "nvidia ampere", False),
        ({"vendor": "apple", "fallback": None}, "apple", None),
    ],
)
def test_adapters(info: dict[str, Any] | None, name: str | None, software: bool | None) -> None:
    assert is_software(info) is software
    if name is not None or info is None:
        assert adapter_name(info) == name
