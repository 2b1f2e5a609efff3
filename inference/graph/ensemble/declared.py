"""What a manifest declares, in whichever form it was written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from inference.documents import JsonView

TYPES = ("text", "text_embedding", "vision", "audio", "multimodal", "other")


class InvalidManifest(ValueError):
    """A manifest that cannot be right; says what was expected, what came and what to do."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A component as the manifest has it: `inputs` and `outputs` map its ports to tensors.

    `type` is what it does, one of `TYPES`; empty: not said.
    """

    name: str
    model: str
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    type: str = ""


@dataclasses.dataclass(frozen=True)
class Declared:
    """An input or output of the whole.

    Attributes:
        name: as the caller sees it.
        tensor: what it is called inside; an input's own name.
        dtype, shape: as declared, None where nothing was said; -1 in a shape is any size.
    """

    name: str
    tensor: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Components and how they are wired.

    Attributes:
        inputs, outputs: None: derived from the wiring.
        by_name: whether a port that is not mapped joins the tensor of its own name; else it stays alone.
    """

    components: tuple[Entry, ...]
    inputs: tuple[Declared, ...] | None = None
    outputs: tuple[Declared, ...] | None = None
    by_name: bool = True


def check_names(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The same entries, when no two have one name."""
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise InvalidManifest(f"two components are named {twice[0]!r}; give each a name of its own")
    return entries


def only(item: JsonView, known: Sequence[str], where: str) -> None:
    """Refuse keys that nobody would read."""
    unknown = sorted(set(item) - set(known))
    if unknown:
        raise InvalidManifest(f"{where}: unknown {unknown[0]!r}; expected {', '.join(known)}")


def text(item: JsonView, key: str, where: str) -> str:
    """A required, non-empty string."""
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidManifest(f"{where}: expected {key!r} to be a name, got {value!r:.80}")
    return value


def names(value: object, where: str) -> dict[str, str]:
    """An object of name → name; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        k and isinstance(v, str) and v for k, v in value.items()
    ):
        raise InvalidManifest(f"{where}: expected an object of port → tensor, got {value!r:.80}")
    return value
