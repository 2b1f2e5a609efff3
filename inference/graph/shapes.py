"""Check tensors against ports, and bind symbolic dimensions to the sizes that came."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from inference.graph.spec import TensorSpec

_MOST_NAMES: Final = 5  # of what a caller sent, in a refusal


class InvalidInput(ValueError):
    """A tensor that a port cannot take; says what was expected and what came."""


def check_names(specs: Sequence[TensorSpec], given: Collection[str]) -> None:
    """Check that every name that is given is that of a port which takes a value.

    Raises:
        InvalidInput: names those that are not.
    """
    known = [spec.name for spec in specs]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInput(f"unknown input {_few(unknown)}; expected {', '.join(map(repr, known))}")
    fixed = sorted(spec.name for spec in specs if spec.optional and spec.name in given)
    if fixed:
        raise InvalidInput(
            f"input {', '.join(map(repr, fixed))} has its value in the model's file, which browsers let "
            "nobody override: leave it out, or register the file so that it is given with every "
            f"request (add_model --override {fixed[0]})"
        )


def check_inputs(
    specs: Sequence[TensorSpec], given: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Check names, types and ranks of tensors given as name → (dtype, shape).

    Raises:
        InvalidInput: the first thing that is wrong.
    """
    check_names(specs, given)
    known = {spec.name: spec for spec in specs}
    missing = sorted(s.name for s in specs if s.name not in given and not s.optional)
    if missing:
        raise InvalidInput(
            f"missing input {', '.join(map(repr, missing))}; expected {', '.join(map(repr, known))}"
        )
    for name, (dtype, shape) in given.items():
        spec = known[name]
        if dtype != spec.dtype:
            raise InvalidInput(f"input {name!r}: expected {spec.dtype}, got {dtype}")
        fixed = zip(spec.shape, shape, strict=False)
        wrong = any(isinstance(want, int) and want != got for want, got in fixed)
        if len(shape) != len(spec.shape) or wrong:
            raise InvalidInput(
                f"input {name!r}: expected shape {_text(spec.shape)}, got {_text(shape)}"
            )


def bind_dims(specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The size of every symbolic dimension, from the shapes of the tensors that came.

    Raises:
        InvalidInput: one name would have two sizes.
    """
    bound: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for want, got in zip(spec.shape, shapes.get(spec.name, ()), strict=False):
            if not isinstance(want, str):
                continue
            size, source = bound.setdefault(want, (got, spec.name))
            if size != got:
                raise InvalidInput(
                    f"dimension {want!r} is {size} in {source!r} but {got} in {spec.name!r}"
                )
    return {name: size for name, (size, _) in bound.items()}


def _few(names: Sequence[str]) -> str:
    """A caller's names: as many as one reads, none longer than that."""
    shown = ", ".join(f"{name!r:.80}" for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _text(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
