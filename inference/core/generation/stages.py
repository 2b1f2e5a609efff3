"""What a decoder's stages take and give, in terms that the page, the worker and the cutter share.

A decoder is cut into stages, each an ONNX file of its own with the states (keys and values) of its own
layers. A step computes the positions `start` to `start + count - 1` of one session; a stage holds exactly
`start` positions before it. Nothing but hidden tensors goes from one stage to the next: every other
input follows from (start, count) and the tokens.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inference.documents import JsonObject, JsonView


class Use(enum.StrEnum):
    """What an input is filled with; batch is 1."""

    TOKENS = "tokens"  # [1, count]: the step's token ids
    HIDDEN = "hidden"  # the output of that name of the stage before
    MASK = "mask"  # [1, start + count]: ones
    POSITIONS = "positions"  # [1, count]: start, start + 1, …
    LAST_POSITION = (
        "last_position"  # [1] or [1, 1]: start + count - 1 (seqlens_k of GroupQueryAttention)
    )
    LENGTH = "length"  # [] or [1]: start + count (total_sequence_length)
    MEMORY = "memory"  # what an encoder made: given with a session's first step, and kept
    CACHED = "cached"  # [1] bool: start > 0 (use_cache_branch of merged exports)
    ROWS = "rows"  # [rows]: ones, as many as logits of the step's last positions are wanted


_LARGEST_HEAD: Final = 128
"""onnxruntime sums so many products of a head in one go, however many keys there are."""
_LISTS: Final = ("stop_tokens", "begins", "suppress_tokens", "begin_suppress_tokens")
"""Of tokens, in a decoder's document."""


@dataclass(frozen=True)
class StageInput:
    """An input that is no state; `rank` of its tensor, `dtype` ONNX's name."""

    name: str
    use: Use
    dtype: str
    rank: int


@dataclass(frozen=True)
class State:
    """A cache that a stage takes as `past` and gives as `present`.

    `shape` is that of the tensor with 1 for the batch and 0 on `axis`, the axis of positions: what a new
    session begins with.
    """

    past: str
    present: str
    dtype: str
    shape: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Stage:
    """One ONNX file of a decoder. `hidden`: outputs for the next stage; `logits`: "" but in the last stage.

    The logits are [1, rows, vocabulary] with an input for how many, else [1, count, vocabulary] or
    [1, 1, vocabulary], of which the last row counts.
    """

    inputs: tuple[StageInput, ...]
    states: tuple[State, ...]
    hidden: tuple[str, ...]
    logits: str

    @functools.cached_property
    def uses(self) -> frozenset[Use]:
        """What its inputs are filled with."""
        return frozenset(item.use for item in self.inputs)

    @property
    def memory(self) -> tuple[str, ...]:
        """Names of the inputs that an encoder makes."""
        return tuple(item.name for item in self.inputs if item.use is Use.MEMORY)

    @property
    def any_row(self) -> bool:
        """Whether any of a step's positions may have logits, and the sum over a head is not split.

        Where a head is larger, it is split by how many keys there are.
        """
        asked = any(item.use is Use.ROWS for item in self.inputs)
        return asked and all(state.shape[-1] <= _LARGEST_HEAD for state in self.states)

    @classmethod
    def from_json(cls, document: JsonView) -> Stage:
        return cls(
            tuple(
                StageInput(item["name"], Use(item["use"]), item["dtype"], item["rank"])
                for item in document["inputs"]
            ),
            tuple(
                State(
                    item["past"], item["present"], item["dtype"], tuple(item["shape"]), item["axis"]
                )
                for item in document["states"]
            ),
            tuple(document["hidden"]),
            document["logits"],
        )

    def to_json(self) -> JsonObject:
        return {
            "inputs": [
                {"name": i.name, "use": i.use.value, "dtype": i.dtype, "rank": i.rank}
                for i in self.inputs
            ],
            "states": [
                {
                    "past": s.past,
                    "present": s.present,
                    "dtype": s.dtype,
                    "shape": list(s.shape),
                    "axis": s.axis,
                }
                for s in self.states
            ],
            "hidden": list(self.hidden),
            "logits": self.logits,
        }


@dataclass(frozen=True)
class Decoder:
    """What is known of a model that writes text.

    `context`: the most positions it may hold; `stop_tokens`: ids that end a text; `layers`: number of its
    blocks, and so the most stages; `chat_template`: Jinja, "" when it has none; `special`: names of special
    tokens that templates use (bos_token, eos_token, …) with their text; `state_bytes`: of all layers' caches,
    per position. `encoder`: the model that makes its memory, "" where it has none; `begins`: the tokens
    that its texts begin with then. `suppress_tokens`: ids that it never writes; `begin_suppress_tokens`: nor
    these as the first of an answer. `drawn`: webpool drew its graph, of weights alone; nothing that a file
    says makes it so.
    """

    architecture: str
    layers: int
    vocabulary: int
    context: int
    stop_tokens: tuple[int, ...]
    chat_template: str
    special: Mapping[str, str]
    state_bytes: int
    whole: Stage
    encoder: str = ""
    begins: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    drawn: bool = False

    @property
    def alike(self) -> bool:
        """Whether a position gives the same bits on wasm whatever is computed beside it.

        So do the rows of a batch of sessions, whose caches are filled up (batches.py): no row has anything of
        another. Only graphs that webpool draws promise it (zoo/layers/cached.py). A stranger's may look like
        one and mix rows on purpose.
        """
        return self.drawn and self.whole.any_row

    @classmethod
    def from_json(cls, document: JsonView) -> Decoder:
        lists = {name: tuple(document.get(name, ())) for name in _LISTS}
        fields = {**document, **lists}
        return cls(**{**fields, "whole": Stage.from_json(document["whole"])})

    def to_json(self) -> JsonObject:
        return {
            "architecture": self.architecture,
            "layers": self.layers,
            "vocabulary": self.vocabulary,
            "context": self.context,
            "stop_tokens": list(self.stop_tokens),
            "chat_template": self.chat_template,
            "special": dict(self.special),
            "state_bytes": self.state_bytes,
            "whole": self.whole.to_json(),
            "encoder": self.encoder,
            "begins": list(self.begins),
            "suppress_tokens": list(self.suppress_tokens),
            "begin_suppress_tokens": list(self.begin_suppress_tokens),
            "drawn": self.drawn,
        }


def stages_in_order(documents: Sequence[JsonView]) -> tuple[Stage, ...]:
    """A plan's stages, first to last.

    Raises:
        ValueError: they do not follow one another.
    """
    stages = tuple(Stage.from_json(document) for document in documents)
    for index, (one, after) in enumerate(itertools.pairwise(stages)):
        taken = {item.name for item in after.inputs if item.use is Use.HIDDEN}
        if taken != set(one.hidden):
            raise ValueError(
                f"stage {index + 1} takes {sorted(taken)}, stage {index} gives {sorted(one.hidden)}"
            )
    if not stages or not stages[-1].logits:
        raise ValueError("the last stage gives no logits")
    return stages
