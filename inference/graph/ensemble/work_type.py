"""What a component does, told by the shapes of what it takes, where its manifest does not say."""

from __future__ import annotations

from inference.graph.ensemble.parts import Component

_INTEGERS = ("int32", "int64")


def work_type(component: Component) -> str:
    """text, vision, audio, multimodal or other.

    What takes the results of several others is multimodal; a batch of images is floats of four axes,
    of token ids integers of two, of spectra or sound floats of three with no other component before it.
    """
    if len(component.depends_on) > 1:
        return "multimodal"
    ranks = [(len(wire.spec.shape), wire.spec.dtype in _INTEGERS) for wire in component.inputs]
    if (4, False) in ranks:
        return "vision"
    if (2, True) in ranks:
        return "text"
    if (3, False) in ranks and not component.depends_on:
        return "audio"
    return "other"
