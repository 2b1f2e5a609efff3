"""Architectures that can be drawn, from what a checkpoint says of its sizes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

from inference.zoo.decoder import DecoderConfig, Rotation

ARCHITECTURES: Final = ("llama", "qwen2", "qwen3", "gemma3")
MOST_POSITIONS: Final = 8192
"""Rows of the rotary tables: longer contexts are cut to this."""

_GEMMA_GLOBAL: Final = 6  # of Gemma's layers each sixth sees all positions
_GEMMA_LOCAL_BASE: Final = 10_000.0


class Unsupported(ValueError):
    """A checkpoint of a kind that cannot be drawn; says which and what can be."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What checkpoints of every kind say of themselves.

    Attributes:
        window: positions that layers with a window see; 0: there are none.
        windowed: per layer, whether it has the window; empty: as the architecture has it.
        score: what scores are multiplied with; 0: head_size ** -0.5.
    """

    layers: int
    hidden: int
    heads: int
    groups: int
    head_size: int
    intermediate: int
    vocabulary: int
    context: int
    epsilon: float
    rotation: Rotation
    tied: bool
    biases: bool = False
    window: int = 0
    windowed: tuple[bool, ...] = ()
    local_base: float = _GEMMA_LOCAL_BASE
    score: float = 0.0


def check_architecture(architecture: str) -> None:
    """Raises Unsupported: it is none of `ARCHITECTURES`."""
    if architecture not in ARCHITECTURES:
        raise Unsupported(
            f"the architecture {architecture!r} cannot be converted; expected one of "
            f"{', '.join(ARCHITECTURES)}, or an ONNX export of it (Optimum, onnxruntime-genai)"
        )


def config_of(architecture: str, sizes: Sizes) -> DecoderConfig:
    """How to draw it.

    Raises:
        Unsupported: an architecture that is none of `ARCHITECTURES`, or sizes that cannot be.
    """
    check_architecture(architecture)
    _check(sizes)
    plain = DecoderConfig(
        layers=sizes.layers,
        hidden=sizes.hidden,
        heads=sizes.heads,
        groups=sizes.groups,
        head_size=sizes.head_size,
        intermediate=sizes.intermediate,
        vocabulary=sizes.vocabulary,
        context=min(sizes.context, MOST_POSITIONS),
        epsilon=sizes.epsilon,
        rotation=sizes.rotation,
        tied=sizes.tied,
        biases=sizes.biases,
        score=sizes.score,
        windows=_windows(sizes, sizes.windowed),
    )
    way = _WAYS.get(architecture)
    return way(plain, sizes) if way else plain


def _qwen3(config: DecoderConfig, _: Sizes) -> DecoderConfig:
    return dataclasses.replace(config, normed_heads=True)


def _gemma3(config: DecoderConfig, sizes: Sizes) -> DecoderConfig:
    usual = tuple((layer + 1) % _GEMMA_GLOBAL != 0 for layer in range(sizes.layers))
    return dataclasses.replace(
        config,
        activation="gelu_tanh",
        normed_heads=True,
        normed_outputs=True,
        embedding_scale=math.sqrt(sizes.hidden),
        windows=_windows(sizes, sizes.windowed or usual),
        local_rotation=Rotation(sizes.local_base),
    )


_WAYS: Final[dict[str, Callable[[DecoderConfig, Sizes], DecoderConfig]]] = {
    "qwen3": _qwen3,
    "gemma3": _gemma3,
}


def _windows(sizes: Sizes, windowed: tuple[bool, ...]) -> tuple[int, ...]:
    if not sizes.window or not any(windowed):
        return ()
    return tuple(sizes.window if one else 0 for one in windowed)


def _check(sizes: Sizes) -> None:
    for field in dataclasses.fields(sizes):
        value = getattr(sizes, field.name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and value < (0 if field.name == "window" else 1):
            raise Unsupported(f"{field.name}: expected at least 1, got {value}")
    if sizes.heads % sizes.groups:
        raise Unsupported(
            f"{sizes.heads} query heads cannot share {sizes.groups} key/value heads: expected a divisor"
        )
    if sizes.head_size % 2:
        raise Unsupported(f"heads of an odd size, {sizes.head_size}, cannot be rotated")
    if sizes.windowed and len(sizes.windowed) != sizes.layers:
        raise Unsupported(
            f"windows of {len(sizes.windowed)} layers are given, and there are {sizes.layers} layers"
        )
