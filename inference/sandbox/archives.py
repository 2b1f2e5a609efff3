"""Named arrays in a zip archive (.npz), as strangers send it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from inference.documents import Array


def read(
    source: IO[bytes], *, check_size: Callable[[int], None] = lambda _: None
) -> Mapping[str, Array]:
    """The arrays by name; nothing in them is ever run.

    `check_size` is told how many bytes they are when they are unpacked, and may raise a ValueError.

    Raises:
        ValueError: it is no such archive, or a member is no array; says which.
    """
    try:
        with np.load(source, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array; name the inputs: numpy.savez(file, x=…)")
            packed: Any = archive.zip
            check_size(sum(item.file_size for item in packed.infolist()))
            return {name: _array(archive, name) for name in archive.files}
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # a stranger's archive finds every way to fail that zip and numpy have
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _array(archive: Any, name: str) -> Array:
    try:
        member = archive[name]
    except Exception as error:
        raise ValueError(
            f"member {name!r} cannot be read: {error or type(error).__name__}"
        ) from error
    if not isinstance(member, np.ndarray):
        raise ValueError(f"member {name!r} is no array; expected what numpy.savez writes")
    return member
