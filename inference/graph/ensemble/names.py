"""Which tensor each port of a manifest's components takes or makes.

1. A port that the manifest maps takes or makes the tensor it names. `<component>/<port>` always names what
   that output port makes.
2. An output port that is not mapped makes a tensor of its own name; where that name would mean two things
   it makes `<component>/<port>`.
3. An input port that is not mapped takes the tensor of its own name; one with a default inside its file
   (an overridable weight) is left alone unless the manifest's inputs list it.
4. A tensor that components take and none makes is an input of the whole. Where the manifest lists its inputs
   it must be among them. The outputs, unless listed, are the tensors that nobody takes.

In Triton's form ports that are not mapped stay unconnected (`Manifest.by_name` is False).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from inference.graph.ensemble.declared import Declared, Entry, InvalidManifest, Manifest
from inference.graph.ensemble.parts import Ports, Wire, listed
from inference.graph.spec import TensorSpec

Maker = Mapping[str, tuple[str, TensorSpec]]


def check_ports(entry: Entry, ports: Ports) -> None:
    for kind, mapped, specs in (
        ("input", entry.inputs, ports[0]),
        ("output", entry.outputs, ports[1]),
    ):
        known = [spec.name for spec in specs]
        for port in mapped:
            if port not in known:
                raise InvalidManifest(
                    f"component {entry.name!r} ({entry.model}) has no {kind} {port!r}; it has "
                    f"{listed(known)}"
                )


def name_outputs(manifest: Manifest, ports: Mapping[str, Ports]) -> dict[str, list[Wire]]:
    unmapped = Counter(
        spec.name
        for entry in manifest.components
        for spec in ports[entry.name][1]
        if spec.name not in entry.outputs
    )
    taken = {tensor for entry in manifest.components for tensor in entry.outputs.values()}
    taken |= {declared.tensor for declared in manifest.inputs or ()}

    def tensor(entry: Entry, port: str) -> str:
        if port in entry.outputs:
            return entry.outputs[port]
        own_input = any(spec.name == port for spec in ports[entry.name][0])
        alone = unmapped[port] == 1 and port not in taken and not own_input
        return port if alone and manifest.by_name else f"{entry.name}/{port}"

    return {
        entry.name: [Wire(spec, tensor(entry, spec.name)) for spec in ports[entry.name][1]]
        for entry in manifest.components
    }


def makers(
    makes: Mapping[str, Sequence[Wire]], inputs: Sequence[Declared]
) -> dict[str, tuple[str, TensorSpec]]:
    """Tensor → the component that makes it, and by which port."""
    given = {declared.tensor for declared in inputs}
    maker: dict[str, tuple[str, TensorSpec]] = {}
    for component, wires in makes.items():
        for wire in wires:
            if wire.tensor in given:
                raise InvalidManifest(
                    f"tensor {wire.tensor!r} is an input of the whole, and {component}/{wire.spec.name} "
                    "makes it too; give one of them another name"
                )
            if wire.tensor in maker:
                other, spec = maker[wire.tensor]
                raise InvalidManifest(
                    f"tensor {wire.tensor!r} is made twice, by {other}/{spec.name} and "
                    f"{component}/{wire.spec.name}; map one of them to another name"
                )
            maker[wire.tensor] = component, wire.spec
    return maker


def name_inputs(
    manifest: Manifest,
    ports: Mapping[str, Ports],
    makes: Mapping[str, Sequence[Wire]],
    maker: Maker,
) -> dict[str, list[Wire]]:
    names = Words(manifest, makes, maker)
    return {
        entry.name: [
            Wire(spec, tensor)
            for spec in ports[entry.name][0]
            if (tensor := names.taken_by(entry, spec)) is not None
        ]
        for entry in manifest.components
    }


class Words:
    """What the manifest's words mean."""

    def __init__(
        self, manifest: Manifest, makes: Mapping[str, Sequence[Wire]], maker: Maker
    ) -> None:
        self._makes, self._maker, self._by_name = makes, maker, manifest.by_name
        inputs = manifest.inputs
        self._given = None if inputs is None else [declared.tensor for declared in inputs]

    def made(self, word: str) -> str:
        """The tensor that a word stands for: its own name, or `<component>/<port>`.

        Raises:
            InvalidManifest: the component has no such output.
        """
        component, slash, port = word.partition("/")
        if word in self._maker or not slash or component not in self._makes:
            return word
        for wire in self._makes[component]:
            if wire.spec.name == port:
                return wire.tensor
        known = [wire.spec.name for wire in self._makes[component]]
        raise InvalidManifest(
            f"component {component!r} has no output {port!r}; it has {listed(known)}"
        )

    def taken_by(self, entry: Entry, spec: TensorSpec) -> str | None:
        """The tensor an input port takes; None: its own default."""
        where = f"input {spec.name!r} of component {entry.name!r}"
        if spec.name in entry.inputs:
            tensor = self.made(entry.inputs[spec.name])
            if tensor not in self._maker and self._given is not None and tensor not in self._given:
                raise InvalidManifest(
                    f"{where} takes {tensor!r}, which no component makes and which is no input of the "
                    f"whole; there are {listed([*self._given, *self._maker])}"
                )
            return tensor
        given = self._given is not None and spec.name in self._given
        if spec.optional and not (given and self._by_name):
            return None
        if not self._by_name:
            raise InvalidManifest(f"{where} is not wired: name its tensor in the step's input_map")
        if spec.name in self._maker or given:
            return spec.name
        rivals = [
            f"{component}/{spec.name}"
            for component, wires in self._makes.items()
            if component != entry.name
            and f"{component}/{spec.name}" in {wire.tensor for wire in wires}
        ]
        if rivals:
            raise InvalidManifest(
                f"{where} could take {' or '.join(rivals)} or an input of the whole; say which in the "
                "component's inputs"
            )
        if self._given is not None:
            raise InvalidManifest(
                f"{where} is not wired: no component makes {spec.name!r} and the manifest's inputs are "
                f"{listed(self._given)}; map it, or add it to the inputs"
            )
        return spec.name
