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

import json
import re
from collections import Counter

from inference.documents import JsonObject, JsonView
from inference.graph.ensemble.declared import (
    TYPES,
    Declared,
    Entry,
    InvalidManifest,
    Manifest,
    check_names,
    names,
    only,
    text,
)
from inference.graph.ensemble.triton import is_ensemble, parse_ensemble

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEYS = ("inputs", "outputs", "components")
_COMPONENT_KEYS = ("name", "model", "type", "inputs", "outputs")


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


def parse_manifest(document: object) -> Manifest:
    """Check a parsed document.

    Raises:
        InvalidManifest: the first thing that is wrong.
    """
    if isinstance(document, dict) and is_ensemble(document):
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


def _entry(item: object, at: int) -> Entry:
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


def _type(item: JsonView, where: str) -> str:
    value = item.get("type", "")
    if value not in ("", *TYPES):
        raise InvalidManifest(
            f"{where}, type: expected one of {', '.join(TYPES)}, got {value!r:.80}"
        )
    return str(value)


def _declared(value: object, what: str, *, renamed: bool) -> tuple[Declared, ...] | None:
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


def _no_duplicates(pairs: list[tuple[str, object]]) -> JsonObject:
    """A JSON object, in which a second key of one name would silently win."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise InvalidManifest(f"the key {twice[0]!r} comes twice in one object")
    return dict(pairs)
