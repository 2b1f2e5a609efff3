"""Every tensor of a model of several files has one type, rank and size wherever it goes."""

from __future__ import annotations

from collections.abc import Sequence

from inference.graph.ensemble.declared import Declared, InvalidManifest
from inference.graph.ensemble.dims import Different, Dims, dims_of
from inference.graph.ensemble.names import Maker
from inference.graph.ensemble.parts import Component, Wire, Wiring
from inference.graph.spec import TensorSpec


class Agreement:
    """Every tensor has one type, rank and size wherever it goes."""

    def __init__(self, components: Sequence[Component], maker: Maker) -> None:
        self._components, self._dims = components, Dims()
        # The ports that a tensor leaves from and arrives at, the first one deciding.
        self._ports: dict[str, list[tuple[str, TensorSpec]]] = {
            tensor: [(component, spec)] for tensor, (component, spec) in maker.items()
        }
        for component in components:
            for wire in component.inputs:
                self._ports.setdefault(wire.tensor, []).append((component.name, wire.spec))
        for tensor, ports in self._ports.items():
            for port in ports[1:]:
                self._agree(tensor, ports[0], port)

    def wiring(self, inputs: Sequence[Declared], outputs: Sequence[Declared]) -> Wiring:
        for kind, declared in [("input", d) for d in inputs] + [("output", d) for d in outputs]:
            self._as_declared(kind, declared)
        given = {declared.tensor for declared in inputs}
        return Wiring(
            tuple(self._components),
            tuple(self._input(declared, given) for declared in inputs),
            tuple(self._output(declared) for declared in outputs),
        )

    def _agree(
        self, tensor: str, one: tuple[str, TensorSpec], other: tuple[str, TensorSpec]
    ) -> None:
        (a, first), (b, second) = one, other
        ports = f"{a}/{first.name} is {_shown(first)}, {b}/{second.name} is {_shown(second)}"
        if first.dtype != second.dtype:
            raise InvalidManifest(f"tensor {tensor!r}: types differ: {ports}")
        if len(first.shape) != len(second.shape):
            raise InvalidManifest(f"tensor {tensor!r}: ranks differ: {ports}")
        for axis, (size, wanted) in enumerate(zip(dims_of(*one), dims_of(*other), strict=True)):
            try:
                self._dims.same(size, wanted)
            except Different as error:
                names = [repr(d[1]) for d in (size, wanted) if not isinstance(d, int)]
                why = f" (other tensors fix {' and '.join(names)})" if names else ""
                raise InvalidManifest(
                    f"tensor {tensor!r}: sizes differ: {ports}; axis {axis} is {error}{why}"
                ) from error

    def _as_declared(self, kind: str, declared: Declared) -> None:
        component, spec = self._ports[declared.tensor][0]
        if declared.dtype is None or declared.shape is None:
            return
        where = f"{kind} {declared.name!r} of the whole is declared as"
        wanted = TensorSpec(declared.name, declared.dtype, declared.shape)
        wrong = f"{where} {_shown(wanted)}, but {component}/{spec.name} is {_shown(spec)}"
        if declared.dtype != spec.dtype or len(declared.shape) != len(spec.shape):
            raise InvalidManifest(wrong)
        for axis, (size, own) in enumerate(
            zip(declared.shape, dims_of(component, spec), strict=True)
        ):
            try:
                if size >= 0:
                    self._dims.same(size, own)
            except Different as error:
                raise InvalidManifest(f"{wrong}: axis {axis} is {error}") from error

    def _input(self, declared: Declared, given: set[str]) -> TensorSpec:
        ports = self._ports[declared.tensor]
        component, spec = ports[0]
        defaults = {self._default(*port, given) for port in ports} - {None}
        return TensorSpec(
            declared.name,
            spec.dtype,
            self._dims.shape(component, spec),
            all(port.optional for _, port in ports),
            defaults.pop() if len(defaults) == 1 else None,
        )

    def _default(self, component: str, spec: TensorSpec, given: set[str]) -> str | None:
        """A declared default such as ones_like:input_ids, where its source is the caller's to give."""
        kind, _, source = (spec.default or "").partition(":")
        (wires,) = [c.inputs for c in self._components if c.name == component]
        tensors = [wire.tensor for wire in wires if wire.spec.name == source]
        return f"{kind}:{tensors[0]}" if given.intersection(tensors) else None

    def _output(self, declared: Declared) -> Wire:
        component, spec = self._ports[declared.tensor][0]
        shape = self._dims.shape(component, spec)
        return Wire(TensorSpec(declared.name, spec.dtype, shape), declared.tensor)


def _shown(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"
