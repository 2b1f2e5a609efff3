"""The bodies that /api/ takes as JSON, within the limits of every door; large ones are built elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import IO, Any, Final

from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from inference import auth
from inference.catalog import registry
from inference.conversion import documents
from inference.documents import Array, JsonObject, JsonView
from inference.graph.shapes import InvalidInput, check_names
from inference.models import OnnxModel
from inference.store.ports import specs
from inference.wire import apart
from inference.wire.apart import BODY, Child, bounds, packed, rest
from inference.wire.oip.travelling import arrived

_RUN, _NAMED, _VALUES = (f"inference.wire.building:{name}" for name in ("run", "named", "values"))
_INPUTS: Final = "inputs"


class BoundedJSON(BaseParser):
    """In place of Django REST framework's parser, which builds whatever comes."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: JsonView | None = None,
    ) -> Any:
        """As `documents.parse`; the rest of a body that is too large stays unread."""
        raw = stream.read(documents.most_bytes() + 1)
        if not documents.is_large(raw):
            return documents.parse(raw)
        owner = _owner((parser_context or {}).get("request"))
        return apart.desk().submit(owner, lambda child: self.large(child, raw)).result()

    def large(self, child: Child, raw: bytes) -> Any:
        return apart.read(child, raw)


class RunJSON(BoundedJSON):
    """A run to start; of a large one the inputs are arrays of the ports' types, or tensors."""

    def large(self, child: Child, raw: bytes) -> Any:
        said = child.ask(_RUN, {BODY: packed(raw)}, bounds=bounds(len(raw)))
        given = rest(said)
        if said.document is not None:
            given[_INPUTS] = arrived(said.document, said.arrays)
        elif isinstance(given, dict):
            _add_values(child, given)
        return given


def _add_values(child: Child, given: JsonObject) -> None:
    """Put the inputs' values where the child left their names; what is no run, who takes it says."""
    names, model = given.get(_INPUTS), given.get("model")
    if isinstance(names, dict) and isinstance(model, str):
        names.update(_values(child, registry.get_model(model), names))


def named_values(owner: str, model: OnnxModel, raw: bytes) -> Any:
    """An object of name → nested list, a large one's as arrays of the model's types.

    Raises:
        InvalidRequest: as `conversion`.
    """
    if not documents.is_large(raw):
        return documents.parse(raw)

    def read(child: Child) -> Any:
        given = rest(child.ask(_NAMED, {BODY: packed(raw)}, bounds=bounds(len(raw))))
        if isinstance(given, dict):
            given.update(_values(child, model, given))
        return given

    return apart.desk().submit(owner, read).result()


def _values(child: Child, model: OnnxModel, names: Collection[str]) -> Mapping[str, Array]:
    """What the child keeps by these names; nothing where a name is wrong, which who takes it says."""
    ports = specs(model.inputs)
    try:
        check_names(ports, names)
    except InvalidInput:
        return {}
    types = {port.name: port.dtype for port in ports if port.name in names}
    return child.ask(_VALUES, types=types).arrays


def _owner(request: object) -> str:
    caller = request.auth if isinstance(request, Request) else None
    return caller.name if isinstance(caller, auth.Caller) else ""
