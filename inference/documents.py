"""Names for what many rooms hand on and none describes closer.

Where the keys are known, a dataclass says them; these are for documents that are read key by key, and
checked there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object, to be written or as it was read."""

JsonView: TypeAlias = Mapping[str, Any]
"""A JSON object that is only read."""

Array: TypeAlias = np.ndarray[Any, Any]
"""An array of any shape and element type."""

DType: TypeAlias = np.dtype[Any]
"""An element type of numpy's, whichever."""
