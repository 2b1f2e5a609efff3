"""A tiny decoder with a tokenizer and a chat template, and what native onnxruntime writes with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inference.checkpoints.described import Described
from inference.core.generation.asked import Asked
from inference.core.generation.sampled import TopLogits
from inference.core.generation.writing import Writer
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.graph.runtime import session
from inference.zoo import decoder

Array = np.ndarray[Any, Any]

CONTEXT, VOCABULARY = 256, 512
END = 257  # <|end|>
SPECIAL = {"bos_token": "<|start|>", "eos_token": "<|end|>"}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
CALLING = (
    "{% for tool in tools or [] %}<tool_call>{{ tool.function.name }}</tool_call>\n{% endfor %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function.arguments.side }}{% endfor %}\n{% endfor %}"
)
"""A template that names tools, and calls of them."""


@dataclasses.dataclass(frozen=True)
class Written:
    """The files of a tiny decoder."""

    onnx: Path
    tokenizer: Path


def write(folder: Path, seed: int = 0, context: int = CONTEXT) -> Written:
    """`decoder.tiny` and a byte-level tokenizer: ids 0 to 255 are bytes, 256 and 257 special."""
    onnx = decoder.tiny(seed, context=context).save(folder / "model.onnx")
    path = folder / "tokenizer.json"
    tokenizer().save(str(path))
    config = {"chat_template": CHAT_TEMPLATE, **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Written(onnx, path)


def tokenizer() -> Tokenizer:
    """Byte-level, without merges; ids from 258 to 511 are words, so that every id has a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL.values()))
    made.add_tokens([f"[{number}]" for number in range(258, VOCABULARY)])
    return made


def greedy(
    onnx: Path,
    prompt: Sequence[int],
    count: int,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
) -> list[int]:
    """The `count` likeliest tokens after a prompt, uncut: the prompt in one step, then one by one.

    Of those in `never` none is written, of those in `not_first` none as the first.
    """
    runtime = session(str(onnx))
    names = [item.name for item in runtime.get_outputs()]
    states = {
        item.name: np.zeros(
            [d if isinstance(d, int) else int(i == 0) for i, d in enumerate(item.shape)]
        )
        for item in runtime.get_inputs()
        if item.name.startswith("past")
    }
    past: dict[str, Array] = {name: state.astype(np.float32) for name, state in states.items()}
    written: list[int] = []
    start, new = 0, list(prompt)
    for _ in range(count):
        given = {
            "input_ids": np.array([new], np.int64),
            "attention_mask": np.ones((1, start + len(new)), np.int64),
            "position_ids": np.arange(start, start + len(new), dtype=np.int64)[None],
            "logit_rows": np.ones(1, np.int64),
        }
        made = dict(zip(names, runtime.run(names, {**given, **past}), strict=True))
        past = {name: made[name.replace("past_key_values", "present")] for name in past}
        row = made["logits"][0, -1].copy()
        row[[*never, *(() if written else not_first)]] = -np.inf
        written.append(int(row.argmax()))
        start, new = start + len(new), written[-1:]
    return written


def uncut(onnx: Path, asked: Asked) -> list[int]:
    """The tokens that are drawn from native onnxruntime's logits of the uncut decoder."""
    whole = found.read_file(onnx).found.whole
    native = Native([(onnx, whole)])
    writer = Writer(asked, context=CONTEXT, vocabulary=VOCABULARY, stop_tokens=(END,))
    position, new = 0, list(asked.prompt)
    while True:
        row = native.step(new)
        position += len(new)
        index = writer.index_after(position)
        run = writer.write(index, [TopLogits.of_row(row, writer.needs(index))])
        if run.ending is not None:
            return writer.written
        new = [run.picks[-1].token]


def registered(files: Written, name: str = "writer", template: str = CHAT_TEMPLATE) -> str:
    """What registers the decoder with a chat template."""
    described = Described(stop_tokens=(END,), chat_template=template, special=SPECIAL)
    return drawn(files.onnx, name, tokenizer=files.tokenizer, described=described)


def drawn(
    onnx: Path, name: str, tokenizer: Path | None = None, described: Described | None = None
) -> str:
    """What registers a decoder that was drawn here, as a published model's is."""
    return (
        "from pathlib import Path, PosixPath; from inference.catalog import registry;"
        "from inference.checkpoints.described import Described;"
        f"registry.add_model(Path({str(onnx)!r}), name={name!r}, tokenizer={tokenizer!r}, "
        f"described={described!r}, drawn=True)"
    )
