"""Wire a manifest's components: who comes before whom, and what the whole takes and gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from inference.graph.ensemble.agreement import Agreement
from inference.graph.ensemble.declared import Declared, InvalidManifest, Manifest
from inference.graph.ensemble.names import (
    Maker,
    Words,
    check_ports,
    makers,
    name_inputs,
    name_outputs,
)
from inference.graph.ensemble.parts import Component, Ports, Wire, Wiring, listed, taken


def wire(manifest: Manifest, ports: Mapping[str, Ports]) -> Wiring:
    """Connect the components; `ports` has each one's inputs and outputs by its name.

    Raises:
        InvalidManifest: the first thing that is wrong.
    """
    for entry in manifest.components:
        check_ports(entry, ports[entry.name])
    makes = name_outputs(manifest, ports)
    maker = makers(makes, manifest.inputs or ())
    takes = name_inputs(manifest, ports, makes, maker)
    order, depends_on = _order(manifest, takes, maker)
    components = tuple(
        Component(
            entry.name,
            entry.model,
            tuple(takes[entry.name]),
            tuple(makes[entry.name]),
            tuple(sorted(order.index(name) for name in depends_on[entry.name])),
            entry.type,
        )
        for entry in sorted(manifest.components, key=lambda entry: order.index(entry.name))
    )
    outputs = _outputs(manifest, components, makes, maker)
    _check_connected(components, {declared.tensor for declared in outputs})
    return Agreement(components, maker).wiring(_inputs(manifest, components, maker), outputs)


def _order(
    manifest: Manifest,
    takes: Mapping[str, Sequence[Wire]],
    maker: Maker,
) -> tuple[list[str], dict[str, list[str]]]:
    """Names so that all that a component depends on comes before it; else as the manifest has them."""
    depends_on = {
        name: list(dict.fromkeys(maker[w.tensor][0] for w in wires if w.tensor in maker))
        for name, wires in takes.items()
    }
    position = {entry.name: at for at, entry in enumerate(manifest.components)}
    sorter = TopologicalSorter(depends_on)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " → ".join(error.args[1])
        raise InvalidManifest(
            f"the components wait for one another: {cycle}; each must come before those that take "
            "what it makes"
        ) from error
    order: list[str] = []
    while sorter.is_active():
        together = sorted(sorter.get_ready(), key=position.__getitem__)
        order += together
        sorter.done(*together)
    return order, depends_on


def _inputs(manifest: Manifest, components: Sequence[Component], maker: Maker) -> list[Declared]:
    needed = taken(components)
    if manifest.inputs is None:
        return [Declared(tensor, tensor) for tensor in needed if tensor not in maker]
    for declared in manifest.inputs:
        if declared.tensor not in needed:
            raise InvalidManifest(
                f"input {declared.name!r} of the whole ({declared.tensor!r}) is taken by no component; "
                f"they take {listed(needed)}"
            )
    return list(manifest.inputs)


def _outputs(
    manifest: Manifest,
    components: Sequence[Component],
    makes: Mapping[str, Sequence[Wire]],
    maker: Maker,
) -> list[Declared]:
    made = [wire.tensor for component in components for wire in component.outputs]
    if manifest.outputs is None:
        needed = taken(components)
        return [Declared(tensor, tensor) for tensor in made if tensor not in needed]
    names = Words(manifest, makes, maker)
    outputs = [
        dataclasses.replace(declared, tensor=names.made(declared.tensor))
        for declared in manifest.outputs
    ]
    for declared in outputs:
        if declared.tensor not in maker:
            raise InvalidManifest(
                f"output {declared.name!r} of the whole: no component makes {declared.tensor!r}; "
                f"they make {listed(made)}"
            )
    return outputs


def _check_connected(components: Sequence[Component], wanted: set[str]) -> None:
    if len(components) > 1 and not any(component.depends_on for component in components):
        raise InvalidManifest(
            "nothing is connected: no component takes what another makes; map the ports that belong "
            "together to one tensor, or register the files as models of their own"
        )
    used = wanted | set(taken(components))
    for component in components:
        if not used.intersection(wire.tensor for wire in component.outputs):
            raise InvalidManifest(
                f"component {component.name!r} is of no use: nothing takes "
                f"{listed(wire.tensor for wire in component.outputs)}, and no output of the whole is "
                "among them"
            )
