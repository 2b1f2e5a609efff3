"""The manifest of a model made of several ONNX files: read and checked before any of them is opened.

    {"inputs": ["input_ids", "pixel_values"],
     "outputs": {"scores": "logits"},
     "components": [
       {"name": "text", "model": "text.onnx", "outputs": {"pooled": "text_pooled"}},
       {"name": "vision", "model": "vision.onnx", "outputs": {"pooled": "image_pooled"}},
       {"name": "fusion", "model": "fusion.onnx", "inputs": {"a": "text_pooled", "b": "image_pooled"}}]}

`inputs` and `outputs` of a component say which tensor of the whole each of its ports takes or makes. What
becomes of ports that it does not name, and of tensors that nobody makes, is in names.py. Triton's
`ensemble_scheduling` (a model configuration as JSON) is read too: triton.py.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEYS = ("inputs", "outputs", "components")
_COMPONENT_KEYS = ("name", "model", "type", "inputs", "outputs")
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


def read_manifest(raw: str | bytes) -> Manifest:
    """Parse JSON text, in webpool's own form or Triton's.

    Raises:
        InvalidManifest: not JSON, or not of either form.
    """
    try:
        document = json.loads(raw, object_pairs_hook=_no_duplicates)
    except InvalidManifest:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"it is not JSON: {error}") from error
    return parse_manifest(document)


def parse_manifest(document: Any) -> Manifest:
    """Check a parsed document.

    Raises:
        InvalidManifest: the first thing that is wrong.
    """
    from inference.graph.ensemble.triton import is_ensemble, parse_ensemble

    if is_ensemble(document):
        return parse_ensemble(document)
    form = 'an object such as {"components": [{"name": "text", "model": "text.onnx"}, …]}'
    if not isinstance(document, dict) or "components" not in document:
        raise InvalidManifest(
            f"expected {form}, or Triton's ensemble_scheduling; got {document!r:.80}"
        )
    only(document, _KEYS, "the manifest")
    components = document["components"]
    if not isinstance(components, list) or not components:
        raise InvalidManifest(
            f"components: expected a list of at least one, got {components!r:.80}"
        )
    entries = tuple(_entry(item, at) for at, item in enumerate(components))
    return Manifest(
        check_names(entries),
        _declared(document.get("inputs"), "inputs", renamed=False),
        _declared(document.get("outputs"), "outputs", renamed=True),
    )


def check_names(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The same entries, when no two have one name."""
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise InvalidManifest(f"two components are named {twice[0]!r}; give each a name of its own")
    return entries


def only(item: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse keys that nobody would read."""
    unknown = sorted(set(item) - set(known))
    if unknown:
        raise InvalidManifest(f"{where}: unknown {unknown[0]!r}; expected {', '.join(known)}")


def text(item: Mapping[str, Any], key: str, where: str) -> str:
    """A required, non-empty string."""
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidManifest(f"{where}: expected {key!r} to be a name, got {value!r:.80}")
    return value


def names(value: Any, where: str) -> dict[str, str]:
    """An object of name → name; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        k and isinstance(v, str) and v for k, v in value.items()
    ):
        raise InvalidManifest(f"{where}: expected an object of port → tensor, got {value!r:.80}")
    return value


def _entry(item: Any, at: int) -> Entry:
    where = f"component {at + 1}"
    if not isinstance(item, dict):
        raise InvalidManifest(
            f'{where}: expected an object with "name" and "model", got {item!r:.80}'
        )
    only(item, _COMPONENT_KEYS, where)
    name = text(item, "name", where)
    if not _NAME.fullmatch(name):
        raise InvalidManifest(
            f"{where}: name {name!r:.80}: expected letters, digits, '-', '_' and '.', at most 64"
        )
    return Entry(
        name,
        text(item, "model", f"component {name!r}"),
        names(item.get("inputs"), f"component {name!r}, inputs"),
        names(item.get("outputs"), f"component {name!r}, outputs"),
        _type(item, f"component {name!r}"),
    )


def _type(item: Mapping[str, Any], where: str) -> str:
    value = item.get("type", "")
    if value not in ("", *TYPES):
        raise InvalidManifest(
            f"{where}, type: expected one of {', '.join(TYPES)}, got {value!r:.80}"
        )
    return str(value)


def _declared(value: Any, what: str, *, renamed: bool) -> tuple[Declared, ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        pairs = [(name, name) for name in value]
    elif isinstance(value, dict) and renamed:
        pairs = list(names(value, what).items())
    else:
        form = "a list of names" + (", or an object of name → tensor" if renamed else "")
        raise InvalidManifest(f"{what}: expected {form}, got {value!r:.80}")
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise InvalidManifest(f"{what}: {twice[0]!r} is listed twice")
    if not pairs:
        raise InvalidManifest(
            f"{what}: expected at least one; leave the key out to have it derived"
        )
    return tuple(Declared(name, tensor) for name, tensor in pairs)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which a second key of one name would silently win."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise InvalidManifest(f"the key {twice[0]!r} comes twice in one object")
    return dict(pairs)
