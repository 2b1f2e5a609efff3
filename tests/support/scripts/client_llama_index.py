"""What a program with llama-index does; tests/integration/test_other_clients.py reads what it prints."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

DOOR = {"api_base": os.environ["DOOR"], "api_key": os.environ["KEY"]}
WRITER, CALLER = os.environ["WRITER"], os.environ["CALLER"]
ASKED = "Hello, pool!"


class Thing(BaseModel):
    """A thing with a form."""

    kind: Literal["round", "square"]
    heavy: bool


class Turn(BaseModel):
    """What `turn` takes."""

    side: Literal["left", "right"]


def turn(side: str) -> str:
    """Turn to a side."""
    return f"turned {side}"


def main() -> dict[str, object]:
    chat = OpenAILike(
        model=WRITER, is_chat_model=True, context_window=256, temperature=0, max_tokens=12, **DOOR
    )
    messages = [ChatMessage(role="user", content=ASKED)]
    whole = chat.chat(messages)
    pieces = list(chat.stream_chat(messages))
    apart = asyncio.run(chat.achat(messages))
    plain = OpenAILike(
        model=WRITER,
        is_chat_model=False,
        context_window=256,
        temperature=0,
        max_tokens=12,
        **DOOR,
    )
    completed = plain.complete(ASKED)
    continued = list(plain.stream_complete(ASKED))
    calling = OpenAILike(
        model=CALLER, is_chat_model=True, is_function_calling_model=True, context_window=256,
        temperature=1, max_tokens=150, additional_kwargs={"seed": 4}, **DOOR,
    )  # fmt: skip
    tool = FunctionTool.from_defaults(turn, fn_schema=Turn)
    called = calling.chat_with_tools([tool], ASKED, tool_required=True)
    calls = calling.get_tool_calls_from_response(called)
    *_, last = calling.stream_chat_with_tools([tool], ASKED, tool_required=True)
    thing = calling.structured_predict(Thing, PromptTemplate(ASKED))
    formed = OpenAILike(
        model=WRITER, is_chat_model=True, context_window=256, temperature=1, max_tokens=150,
        should_use_structured_outputs=True, additional_kwargs={"seed": 1}, **DOOR,
    )  # fmt: skip
    other = formed.structured_predict(Thing, PromptTemplate(ASKED))
    embedder = OpenAILikeEmbedding(model_name="minilm", **DOOR)
    vectors = embedder.get_text_embedding_batch(["A cat sleeps.", "The kitten naps."])
    return {
        "text": whole.message.content,
        "streamed": "".join(piece.delta or "" for piece in pieces),
        "apart": apart.message.content,
        "completed": completed.text,
        "continued": "".join(piece.delta or "" for piece in continued),
        "called": [(one.tool_name, one.tool_kwargs) for one in calls],
        "called in a stream": [
            (one.tool_name, one.tool_kwargs) for one in calling.get_tool_calls_from_response(last)
        ],
        "thing": thing.model_dump(),
        "other": other.model_dump(),
        "sizes": [len(vector) for vector in vectors],
    }


if __name__ == "__main__":
    print(json.dumps(main()))
