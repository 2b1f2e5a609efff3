"""What a program with langchain-openai does; tests/integration/test_other_clients.py reads what it prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from openai import BadRequestError
from pydantic import BaseModel

DOOR = {"base_url": os.environ["DOOR"], "api_key": os.environ["KEY"]}
WRITER, CALLER = os.environ["WRITER"], os.environ["CALLER"]
ASKED = "Hello, pool!"


class Thing(BaseModel):
    """A thing with a form."""

    kind: Literal["round", "square"]
    heavy: bool


@tool
def turn(side: Literal["left", "right"]) -> str:
    """Turn to a side."""
    return f"turned {side}"


def main() -> dict[str, object]:
    chat = ChatOpenAI(model=WRITER, temperature=0, max_tokens=12, stream_usage=True, **DOOR)
    whole = chat.invoke(ASKED)
    pieces = list(chat.stream(ASKED))
    told = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    batch = chat.batch([ASKED, ASKED])
    spoken = chat.invoke([SystemMessage("be short"), HumanMessage(ASKED)])
    drawn = ChatOpenAI(model=WRITER, temperature=0.8, seed=3, max_tokens=6, top_p=0.9, n=1, **DOOR)
    probable = drawn.bind(logprobs=True, top_logprobs=2).invoke(ASKED)
    completed = OpenAI(model=WRITER, temperature=0, max_tokens=12, **DOOR).invoke(ASKED)
    forms = ChatOpenAI(model=WRITER, temperature=1, seed=1, **DOOR)
    thing = forms.with_structured_output(Thing).invoke(ASKED)
    calling = ChatOpenAI(model=CALLER, temperature=1, seed=4, **DOOR)
    bound = calling.bind_tools([turn], tool_choice="any", parallel_tool_calls=False)
    called = bound.invoke(ASKED)
    first, *rest = bound.stream(ASKED)
    streamed = sum(rest, start=first)
    (call,) = called.tool_calls
    answer = ToolMessage(turn.invoke(call["args"]), tool_call_id=call["id"])
    short = ChatOpenAI(model=CALLER, temperature=0, max_tokens=5, **DOOR).bind_tools([turn])
    after = short.invoke([HumanMessage(ASKED), called, answer])
    embedder = OpenAIEmbeddings(model="minilm", check_embedding_ctx_length=False, **DOOR)
    vectors = embedder.embed_documents(["A cat sleeps.", "The kitten naps."])
    return {
        "text": whole.content,
        "tokens": (whole.usage_metadata or {}).get("output_tokens"),
        "streamed": "".join(str(piece.content) for piece in pieces),
        "streamed tokens": [one["output_tokens"] for one in told],
        "batch": [one.content for one in batch],
        "spoken": bool(spoken.content),
        "logprobs": len(probable.response_metadata["logprobs"]["content"]),
        "completed": completed,
        "thing": thing.model_dump() if isinstance(thing, Thing) else thing,
        "called": [(one["name"], one["args"]) for one in called.tool_calls],
        "called in a stream": [(one["name"], one["args"]) for one in streamed.tool_calls],
        "after": (after.usage_metadata or {}).get("output_tokens"),
        "sizes": [len(vector) for vector in vectors],
        "refused": [
            refusal(lambda: chat.bind(service_tier="flex").invoke(ASKED)),
            refusal(lambda: chat.invoke([HumanMessage(ASKED, name="ada")])),
        ],
    }


def refusal(ask: Callable[[], object]) -> str:
    """The field that is to blame."""
    try:
        ask()
    except BadRequestError as error:
        return str(error.param)
    return ""


if __name__ == "__main__":
    print(json.dumps(main()))
