"""Named arrays in a zip archive (.npz): written, and read as strangers send it.

What is read is counted first: how many members, then by each one's header how many bytes it becomes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Final

import numpy as np

from inference.documents import Array, DType

MOST_MEMBERS: Final = 1024
_MOST_LIST_BYTES: Final = 2**20  # of the archive's list of members
_HEADER_BYTES: Final = 2**14  # numpy takes none of more than 10,000 letters
_EXPECTED: Final = "expected an npz (a zip of .npy members, as numpy.savez writes it)"


@dataclasses.dataclass(frozen=True)
class Member:
    """An array as its header tells of it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.values * self.dtype.itemsize


def write(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write an archive. `numpy.savez` does it too, but takes no array named "file" and pickles strings."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            if array.dtype == object:  # strings: numpy's own text type needs no pickle
                array = array.astype(str)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read(
    source: IO[bytes], *, check: Callable[[Sequence[Member]], None] = lambda _: None
) -> Mapping[str, Array]:
    """The arrays by name; nothing in them is ever run.

    `check` is told what they are before any of them is made, and may raise a ValueError.

    Raises:
        ValueError: it is no such archive, or a member is no array; says which.
    """
    _check_start(source)
    listed = _List(source)
    try:
        with zipfile.ZipFile(listed) as archive:
            listed.is_read = True
            members = _members(archive)
            check([member for _, member in members])
            return {member.name: _array(archive, info, member) for info, member in members}
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # a stranger's archive finds every way to fail that zip and numpy have
        raise ValueError(f"{type(error).__name__}: {error}") from error


class _List:
    """A file of which no more is read at once than a list of `MOST_MEMBERS` members, until that is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.seek, self.tell, self.seekable = source.seek, source.tell, source.seekable
        self.is_read = False

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_LIST_BYTES and not self.is_read:
            raise ValueError(
                f"its list of members has {size} bytes: expected at most {MOST_MEMBERS} arrays"
            )
        return self._source.read(size)


def _check_start(source: IO[bytes]) -> None:
    start = source.read(len(np.lib.format.MAGIC_PREFIX))
    source.seek(0)
    if start == np.lib.format.MAGIC_PREFIX:
        raise ValueError(
            f"{_EXPECTED}, got a single array (.npy); name the inputs: numpy.savez(file, x=…)"
        )
    if not start.startswith(b"PK"):
        what = f"a file that begins with {start!r}" if start else "an empty file"
        raise ValueError(f"{_EXPECTED}, got {what}")


def _members(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, Member]]:
    """What each is, as its header tells."""
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise ValueError(f"expected at most {MOST_MEMBERS} arrays, got {len(listed)}")
    found: dict[str, tuple[zipfile.ZipInfo, Member]] = {}
    for info in listed:
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"two members are called {name!r:.80}; each name may come once")
        found[name] = (info, _header(archive, info, name))
    return list(found.values())


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    with _told(name), archive.open(info) as file:
        start = io.BytesIO(file.read(_HEADER_BYTES))
    if not start.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError(f"member {name!r:.80} is no array; expected what numpy.savez writes")
    with _told(name):
        version = np.lib.format.read_magic(start)
        if version not in _READERS:
            raise ValueError(f"version {version} of .npy, expected numbers, booleans or text")
        shape, _, dtype = _READERS[version](start)
        if dtype.hasobject:
            raise ValueError(
                "it holds pickled objects; expected numbers, booleans or text (dtype=str)"
            )
        member = Member(name, dtype, shape)
        there = info.file_size - start.tell()
        if min(shape, default=0) < 0 or member.nbytes != there:
            raise ValueError(
                f"its header tells of {dtype}{list(shape)}, that is {member.nbytes} bytes, but {there} are "
                "there"
            )
    return member


_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member) -> Array:
    with _told(member.name), archive.open(info) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever fails is told with the member's name."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"member {name!r:.80} cannot be read: {error or type(error).__name__}"
        ) from error
