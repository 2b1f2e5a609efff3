"""What OpenAI's client was answered, and what became of a text at the other end."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest
from openai.types import CompletionUsage
from tokenizers import Tokenizer

from tests.support.stack import RunningStack


def told(tokenizer: Tokenizer, tokens: list[int]) -> str:
    text: str = tokenizer.decode(tokens)
    return text


def counted(usage: CompletionUsage | None) -> tuple[int, int, int]:
    """Tokens, whatever was cached of them: the same question is begun with what is kept of the first."""
    assert usage is not None
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def refusal(error: type[openai.APIStatusError], ask: Any, **fields: Any) -> Any:
    with pytest.raises(error) as caught:
        ask(**fields)
    body: Any = caught.value.body
    assert body["message"]
    return body


def ending(pool: RunningStack, session: str) -> str:
    """How a session ended, once it has."""
    deadline = time.monotonic() + 60
    code = f"from inference.models import GenerationSession as S; print(S.objects.get(pk='{session}').ending)"
    while not (found := pool.manage("shell", "-v0", "-c", code).stdout.strip()):
        assert time.monotonic() < deadline, "the session went on"
    return found
