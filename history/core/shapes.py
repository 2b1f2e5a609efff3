"""Buckets of input shapes: work of about the same size is compared, other work is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def shape_bucket(shapes: Mapping[str, Sequence[int]]) -> str:
    """`name[dims]` of each input by name, every dimension raised to the next power of two.

    {"ids": (3, 100)} → "ids[4,128]".
    """
    return " ".join(
        f"{name}[{','.join(str(_raised(size)) for size in shape)}]"
        for name, shape in sorted(shapes.items())
    )


def _raised(size: int) -> int:
    return 0 if size == 0 else 1 << (size - 1).bit_length()
