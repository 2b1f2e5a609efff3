"""Other inputs of the same shapes, to try a backend with more than the one question that was asked: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from browsers.core.answers.agreement import numbers
from browsers.core.answers.sizes import SMALL, size_of
from browsers.core.protocol import WireTensor

_SEED = 7


def variants(inputs: Sequence[WireTensor]) -> Iterator[list[WireTensor]]:
    """Small halves, the inputs, their values shuffled, and halves with the largest of their sizes among them.

    No two are the same. Ties, zeros, halves and negative numbers are where backends differ. Integers are only
    shuffled: others could lie outside of what the model can look up. Booleans are turned round. Strings stay.
    """
    seen = set()
    for change in (_halves, _kept, _shuffled, _reaching):
        random = np.random.default_rng(_SEED)
        made = [change(tensor, random) for tensor in inputs]
        content = tuple(bytes(tensor.data) for tensor in made)
        if content not in seen:
            seen.add(content)
            yield made


def _kept(tensor: WireTensor, random: np.random.Generator) -> WireTensor:
    return tensor


def _shuffled(tensor: WireTensor, random: np.random.Generator) -> WireTensor:
    if tensor.dtype == "string":
        return tensor
    flat = numbers(tensor).flatten()  # numpy would shuffle what is empty in its place
    return dataclasses.replace(tensor, data=random.permutation(flat).tobytes())


def _halves(tensor: WireTensor, random: np.random.Generator) -> WireTensor:
    if tensor.dtype == "bool":
        return dataclasses.replace(tensor, data=(~numbers(tensor)).tobytes())
    if not tensor.dtype.startswith("float"):
        return tensor
    most = int(2 * SMALL)
    made = random.integers(-most, most + 1, tensor.shape) / 2
    return dataclasses.replace(tensor, data=made.astype(numbers(tensor).dtype).tobytes())


def _reaching(tensor: WireTensor, random: np.random.Generator) -> WireTensor:
    made = _halves(tensor, random)
    most = size_of(tensor).most
    if most <= SMALL:
        return made
    flat = numbers(made).flatten()
    places = random.choice(flat.size, min(2, flat.size), replace=False)
    flat[places] = (most, -most)[: places.size]
    return dataclasses.replace(tensor, data=flat.tobytes())
