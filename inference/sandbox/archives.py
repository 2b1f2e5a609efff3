"""Named arrays in a zip archive (.npz): written, and read as strangers send it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from typing import IO

import numpy as np

from inference.documents import Array


def write(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write an archive. `numpy.savez` does it too, but takes no array named "file" and pickles strings."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            if array.dtype == object:  # strings: numpy's own text type needs no pickle
                array = array.astype(str)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


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
            packed = archive.zip
            check_size(sum(item.file_size for item in packed.infolist()) if packed else 0)
            return {name: _array(archive, name) for name in archive.files}
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # a stranger's archive finds every way to fail that zip and numpy have
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _array(archive: Mapping[str, object], name: str) -> Array:
    try:
        member = archive[name]
    except Exception as error:
        raise ValueError(
            f"member {name!r} cannot be read: {error or type(error).__name__}"
        ) from error
    if not isinstance(member, np.ndarray):
        raise ValueError(f"member {name!r} is no array; expected what numpy.savez writes")
    return member
