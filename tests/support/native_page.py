"""What a page does with the steps of sessions that write text, by native onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from browsers.bridge import Refusal, Reply, StepRefused
from browsers.session.decoding import StepAsked
from inference.core.generation.sessions import Place, Step, after, judge
from inference.core.generation.stages import Stage
from inference.graph.decoding.reference import empty_states, filled
from inference.graph.runtime import session
from inference.store.files import path_of
from inference.store.tensors import decode_array, encode_array

_runtimes: dict[str, Any] = {}


class Page:
    """As runtime/caches.js."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Place, Stage, Mapping[str, Any], Reply]] = {}

    def lose(self) -> None:
        self._held.clear()

    def step(self, asked: StepAsked) -> Reply | Refusal:
        held, sha256, header = self._held.get(asked.holder), asked.model_sha256, asked.step
        place, stage, states, answer = held or (None, None, {}, ({}, []))
        step = Step(header["epoch"], header["start"], header["count"], header["drafted"])
        verdict = judge(place, step)
        if verdict.refused:
            return StepRefused(verdict, "refused")
        if verdict == "repeat":
            return answer
        if verdict == "begin":
            stage = Stage.from_json(header["stage"])
            states = empty_states(stage)
        assert stage is not None
        states = {
            state.past: states[state.past].take(range(step.start), state.axis)
            for state in stage.states
        }
        given = {tensor.name: decode_array(tensor) for tensor in asked.tensors}
        tokens = given["input_ids"][0].tolist() if "input_ids" in given else [0] * step.count
        if sha256 not in _runtimes:
            _runtimes[sha256] = session(str(path_of(sha256)))
        names = [item.name for item in _runtimes[sha256].get_outputs()]
        made = _runtimes[sha256].run(
            names, filled(stage, step.start, tokens, given, step.drafted + 1) | dict(states)
        )
        results = dict(zip(names, made, strict=True))
        answer = (
            {"compute_ms": 0.1, "log_sum": None},
            [encode_array(name, results[name]) for name in stage.hidden],
        )
        if stage.logits and header["top_k"] is not None:
            answer = _largest(results[stage.logits][0, -1 - step.drafted :], header["top_k"])
        kept = {state.past: results[state.present] for state in stage.states}
        self._held[asked.holder] = (after(step), stage, kept, answer)
        return answer


def _largest(rows: Any, top: int) -> Reply:
    ids = np.argsort(-rows, axis=1, kind="stable")[:, :top]
    if not top:
        ids = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
    log_sum = np.log(np.exp(rows.astype(np.float64)).sum(axis=1)).tolist()
    logits = np.take_along_axis(rows, ids, axis=1)
    tensors = [encode_array("ids", ids.astype(np.int32)), encode_array("logits", logits)]
    return {"compute_ms": 0.1, "log_sum": log_sum}, tensors
