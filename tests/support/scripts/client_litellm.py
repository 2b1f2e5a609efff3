"""What a program with litellm does; tests/integration/test_other_clients.py reads what it prints."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Literal

import litellm
from pydantic import BaseModel

DOOR = {"api_base": os.environ["DOOR"], "api_key": os.environ["KEY"]}
WRITER, CALLER = os.environ["WRITER"], os.environ["CALLER"]
ASKED = "Hello, pool!"
CHAT = [{"role": "user", "content": ASKED}]
TURN = {
    "type": "function",
    "function": {
        "name": "turn",
        "description": "Turn to a side.",
        "parameters": {
            "type": "object",
            "properties": {"side": {"type": "string", "enum": ["left", "right"]}},
            "required": ["side"],
        },
    },
}


class Thing(BaseModel):
    """A thing with a form."""

    kind: Literal["round", "square"]
    heavy: bool


def main() -> dict[str, object]:
    asked = {
        "model": f"openai/{WRITER}",
        "messages": CHAT,
        "temperature": 0,
        "max_tokens": 12,
        **DOOR,
    }
    whole = litellm.completion(**asked)
    pieces = list(litellm.completion(stream=True, stream_options={"include_usage": True}, **asked))
    counts = [piece.usage.completion_tokens for piece in pieces if getattr(piece, "usage", None)]
    apart = asyncio.run(litellm.acompletion(**asked))
    probable = litellm.completion(logprobs=True, top_logprobs=2, **asked)
    completed = litellm.text_completion(
        model=f"text-completion-openai/{WRITER}", prompt=ASKED, temperature=0, max_tokens=12, **DOOR
    )
    thing = litellm.completion(
        model=f"openai/{WRITER}",
        messages=CHAT,
        response_format=Thing,
        temperature=1,
        seed=1,
        **DOOR,
    )
    calling = {
        "model": f"openai/{CALLER}", "messages": CHAT, "tools": [TURN], "tool_choice": "required",
        "parallel_tool_calls": False, "temperature": 1, "seed": 4, **DOOR,
    }  # fmt: skip
    called = litellm.completion(**calling).choices[0]
    built = litellm.stream_chunk_builder(list(litellm.completion(stream=True, **calling)))
    answered = [
        *CHAT,
        called.message.model_dump(),
        {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "turned"},
    ]
    after = litellm.completion(
        **{**calling, "messages": answered, "tool_choice": "auto", "max_tokens": 5}
    )
    embedded = litellm.embedding(
        model="openai/minilm", input=["A cat sleeps.", "The kitten naps."], **DOOR
    )
    try:
        litellm.completion(**asked, service_tier="flex")
        refused = ""
    except Exception as error:
        refused = str(error)
    return {
        "text": whole.choices[0].message.content,
        "tokens": whole.usage.completion_tokens,
        "streamed": "".join(
            piece.choices[0].delta.content or "" for piece in pieces if piece.choices
        ),
        "streamed tokens": counts,
        "apart": apart.choices[0].message.content,
        "logprobs": len(probable.choices[0].logprobs.content),
        "completed": completed.choices[0].text,
        "thing": json.loads(thing.choices[0].message.content),
        "finish": called.finish_reason,
        "called": _calls(called.message),
        "called in a stream": _calls(built.choices[0].message),
        "after": after.usage.completion_tokens,
        "sizes": [len(one["embedding"]) for one in embedded.data],
        "refused": refused,
    }


def _calls(message: litellm.Message) -> list[tuple[str, object]]:
    return [(one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls]


if __name__ == "__main__":
    print(json.dumps(main()))
