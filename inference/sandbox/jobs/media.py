"""Pictures and packed arrays, as files of strangers, to arrays."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from inference.documents import Array
from inference.sandbox import archives
from inference.sandbox.frames import Answer

_MOST_PIXELS: Final = 50_000_000
# Of all that Pillow knows: what cameras and programs write, and nothing that has another program draw it.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")


def picture(
    arrays: Mapping[str, Array],
    width: int,
    height: int,
    channels: int,
    scale: float,
    mean: Sequence[float],
    std: Sequence[float],
    fit: str,
    layout: str,
) -> Answer:
    """A picture's file (`file`: its bytes) as float32, [1, channels, height, width] or as `layout` says.

    Raises:
        ValueError: it is none of `_FORMATS`, damaged, or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            found: Image.Image = ImageOps.exif_transpose(
                Image.open(io.BytesIO(arrays["file"].tobytes()), formats=_FORMATS)
            )
            shown = found.convert("L" if channels == 1 else "RGB")
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # it says an address in memory
        expected = ", ".join(_FORMATS)
        raise ValueError(f"it is no picture that can be read; expected {expected}") from error
    except Exception as error:  # a stranger's file finds every way to fail that decoders have
        raise ValueError(f"it is no picture that can be read: {error}") from error
    bilinear = Image.Resampling.BILINEAR
    if fit == "crop":
        shown = ImageOps.fit(shown, (width, height), method=bilinear)
    else:
        shown = shown.resize((width, height), bilinear)
    pixels = np.asarray(shown, np.float32).reshape(height, width, channels)
    values = (pixels * np.float32(scale) - np.array(mean, np.float32)) / np.array(std, np.float32)
    if layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return Answer(None, {"values": np.ascontiguousarray(values[np.newaxis], np.float32)})


def archive(arrays: Mapping[str, Array], most_bytes: int) -> Answer:
    """The arrays of an npz (`file`: its bytes), at most so many bytes unpacked.

    Raises:
        ValueError: it is none, or larger.
    """

    def bounded(members: Sequence[archives.Member]) -> None:
        if (size := sum(member.nbytes for member in members)) > most_bytes:
            raise ValueError(f"expected at most {most_bytes} bytes unpacked, got {size}")

    found = archives.read(io.BytesIO(arrays["file"].tobytes()), check=bounded)
    return Answer(None, dict(found))
