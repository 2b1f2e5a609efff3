"""How large a run's inputs are, told by types and shapes before any is widened or filled in.

A hundred kilobytes of a packed file may say eight hundred megabytes of the port's type, and what is filled in
is as large as what it is like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings

from browsers.core.protocol import DTYPES
from inference.errors import TooLarge
from inference.graph.spec import TensorSpec
from inference.sandbox.port_sizes import Count, tensor_bytes

Shape = tuple[int, ...]
FILL: Final = {"ones_like": 1, "zeros_like": 0}


def filled_in(ports: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The inputs that a declared default such as "ones_like:input_ids" adds to those of `shapes`."""
    known = dict(shapes)
    for port in ports:
        if port.name not in known and port.like in known:
            known[port.name] = known[port.like]
    return {name: shape for name, shape in known.items() if name not in shapes}


def check_shapes(ports: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> None:
    """Refuse arrays of these shapes that would be too large once they are tensors of the ports' types.

    Raises:
        TooLarge.
    """
    types = {port.name: port.dtype for port in ports}
    made = {**shapes, **filled_in(ports, shapes)}
    check(sum(bytes_of(types[name], shape) for name, shape in made.items()))


def check(total: int) -> None:
    """Refuse inputs of so many bytes in all if those are too many.

    Raises:
        TooLarge.
    """
    if total > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLarge(
            f"the inputs are {total / 2**20:.0f} MB, the limit is {settings.WEBPOOL_MAX_REQUEST_MB} "
            "MB (WEBPOOL_MAX_REQUEST_MB)"
        )


def bytes_of(dtype: str, shape: Shape) -> int:
    """Of a tensor, without the letters of texts; what no browser takes counts nothing, and is refused."""
    return tensor_bytes(dtype, Count(math.prod(shape))) if dtype in (*DTYPES, "string") else 0
