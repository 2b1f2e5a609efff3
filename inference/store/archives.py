"""Named arrays in a zip archive (.npz), as strangers send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np

Array = np.ndarray[Any, Any]


def read(source: IO[bytes], *, most_bytes: int | None = None) -> Mapping[str, Array]:
    """The arrays by name; nothing in them is ever run.

    `most_bytes`: how large they may be when they are unpacked.

    Raises:
        ValueError: it is no such archive, a member is no array, or it is larger; says which.
    """
    try:
        with np.load(source, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array; name the inputs: numpy.savez(file, x=…)")
            packed: Any = archive.zip
            _check_size(sum(item.file_size for item in packed.infolist()), most_bytes)
            return {name: _array(archive, name) for name in archive.files}
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # a stranger's archive finds every way to fail that zip and numpy have
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_size(size: int, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise ArchiveTooLarge(size)


class ArchiveTooLarge(ValueError):
    """It holds more than may be unpacked; `size` in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes when unpacked")
        self.size = size


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
