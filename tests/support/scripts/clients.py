"""Clients of OpenAI's protocol, unmodified, each asked for the same chat: python clients.py URL KEY MODEL.

Runs in an environment of its own, without webpool, and prints what each said as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

MESSAGE = "Hello, pool!"
LONGEST = 12


def langchain(url: str, key: str, model: str) -> list[str]:
    """Whole, and streamed."""
    from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]

    chat = ChatOpenAI(base_url=url, api_key=key, model=model, temperature=0, max_tokens=LONGEST)
    pieces = [str(piece.content) for piece in chat.stream(MESSAGE)]
    return [str(chat.invoke(MESSAGE).content), "".join(pieces)]


def litellm(url: str, key: str, model: str) -> list[str]:
    from litellm import completion  # type: ignore[import-not-found]

    def ask(*, stream: bool) -> object:
        return completion(
            model=f"openai/{model}", api_base=url, api_key=key, temperature=0, max_tokens=LONGEST,
            messages=[{"role": "user", "content": MESSAGE}], stream=stream,
        )  # fmt: skip

    whole = ask(stream=False).choices[0].message.content  # type: ignore[attr-defined]
    pieces = [event.choices[0].delta.content or "" for event in ask(stream=True)]  # type: ignore[attr-defined]
    return [whole, "".join(pieces)]


def llama_index(url: str, key: str, model: str) -> list[str]:
    from llama_index.core.llms import ChatMessage  # type: ignore[import-not-found]
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-not-found]

    llm = OpenAILike(
        api_base=url,
        api_key=key,
        model=model,
        is_chat_model=True,
        temperature=0,
        max_tokens=LONGEST,
    )
    said = [ChatMessage(role="user", content=MESSAGE)]
    pieces = [piece.delta or "" for piece in llm.stream_chat(said)]
    return [llm.chat(said).message.content, "".join(pieces)]


CLIENTS: tuple[Callable[[str, str, str], list[str]], ...] = (langchain, litellm, llama_index)


if __name__ == "__main__":
    print(json.dumps({client.__name__: client(*sys.argv[1:4]) for client in CLIENTS}))
