"""The plan of a decoder: a chain of stages, each a file with the caches of its own layers."""

from __future__ import annotations

from pathlib import Path

from inference import sandbox
from inference.core.generation.stages import Decoder
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.models import OnnxModel, PlanStep
from inference.store.files import keep, made_files, path_of


def decoder_of(model: OnnxModel) -> Decoder:
    """What is known of a model that writes text.

    Raises:
        InvalidRequest: it is none, and why.
    """
    if model.decoder is None:
        why = model.summary.get("no_decoder") or "its graph has no cache of keys and values"
        raise InvalidRequest(f"model {model.name} writes no text: {why}")
    return Decoder.from_json(model.decoder)


def decoder_steps(model: OnnxModel, stages: int) -> list[PlanStep]:
    """So many stages in order; uncut, where the graph allows it, the model's own file.

    Raises:
        InvalidRequest: it is no decoder, or has fewer layers.
    """
    decoder_of(model)
    known: JsonObject = model.summary["decoding"]
    if stages == 1 and not known["changed"]:
        return [whole_stage(model)]
    path = path_of(model.sha256)
    with made_files() as folder:
        try:
            rows = sandbox.ask(
                "stages",
                reads=[path],
                writes=folder,
                limits=sandbox.limits_for([path]),
                path=str(path),
                count=stages,
                called=known["called"],
                folder=str(folder),
            ).document
            steps = [PlanStep(**row) for row in rows]
            for step in steps:
                keep(folder / Path(step.sha256).name, step.sha256)
        except ValueError as error:
            raise InvalidRequest(f"model {model.name}: {error}") from error
    return steps


def whole_stage(model: OnnxModel) -> PlanStep:
    """The model's own file as the only step of a plan; of a decoder, with what its inputs are."""
    stage = model.decoder["whole"] if model.decoder else None
    if stage is not None and model.summary["decoding"]["changed"]:
        stage = None
    return PlanStep(
        index=0,
        sha256=model.sha256,
        file_bytes=model.file_bytes,
        weight_bytes=model.weight_bytes,
        cost=1.0,
        inputs=model.inputs,
        outputs=model.outputs,
        node_count=model.node_count,
        stage=stage,
    )
