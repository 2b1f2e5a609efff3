"""A request, read: what is continued or embedded, and how."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Final

from inference.core.generation.sampled import Sampling
from inference.documents import JsonView
from inference.wire.openai.fields import MOST_CHOICES, Endpoint, read_fields
from inference.wire.openai.kinds import is_token
from inference.wire.openai.messages import read_messages
from inference.wire.openai.refusals import Refused
from inference.wire.openai.tools import Tools, read_tools

MOST_TEXTS: Final = 2048


@dataclasses.dataclass(frozen=True)
class Writing:
    """How answers are written.

    Attributes:
        max_tokens: None: as many as the context has room for; `max_tokens_field`: what the caller calls it.
        sampling: of the first choice of each prompt; the seed of choice i is i larger.
        choices: answers to each prompt.
        tells_tokens: each token is told with its log probability.
        tells_usage: the last event of a stream tells the usage.
        shards: 0: as the pool decides.
        platform: empty: wasm.
        grammar: the form of the answers, "" is any; `grammar_field`: what the caller asked for it with.
    """

    model: str
    max_tokens: int | None
    max_tokens_field: str
    sampling: Sampling
    stop: tuple[str, ...]
    stop_tokens: tuple[int, ...]
    ignore_end: bool
    speculation: bool
    grammar: str
    choices: int
    tells_tokens: bool
    stream: bool
    tells_usage: bool
    shards: int
    browsers: tuple[str, ...]
    platform: str
    standbys: int = 0
    grammar_field: str = "response_format"


@dataclasses.dataclass(frozen=True)
class ChatRequest:
    """`messages` as a chat template takes them, `words` what it is told beside them."""

    writing: Writing
    messages: tuple[JsonView, ...]
    words: JsonView
    tools: Tools


@dataclasses.dataclass(frozen=True)
class CompletionRequest:
    """Each of `prompts` is a text, or tokens of the model's own."""

    writing: Writing
    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool


@dataclasses.dataclass(frozen=True)
class EmbeddingRequest:
    """`dimensions`: None: the model's own."""

    model: str
    texts: tuple[str, ...]
    base64: bool
    dimensions: int | None
    browsers: tuple[str, ...]
    platform: str


def read_chat(document: object) -> ChatRequest:
    """Read the body of a chat.

    Raises:
        Refused: it cannot be served as it is asked; says which field is to blame.
    """
    fields = read_fields(document, Endpoint.CHAT)
    limit, older = fields["max_completion_tokens"], fields["max_tokens"]
    if limit is not None and older is not None and limit != older:
        raise Refused(
            f"expected max_completion_tokens or max_tokens, got both ({limit} and {older})",
            param="max_tokens",
        )
    told = fields["top_logprobs"]
    if told is not None and not fields["logprobs"]:
        raise Refused("top_logprobs: expected logprobs to be true as well", param="top_logprobs")
    name = "max_tokens" if limit is None else "max_completion_tokens"
    writing = _writing(
        fields, max_tokens=older if limit is None else limit, max_tokens_field=name,
        tells_tokens=fields["logprobs"], likeliest=told or 0, choices=fields["n"],
    )  # fmt: skip
    tools = read_tools(
        fields["tools"], fields["tool_choice"], several=fields["parallel_tool_calls"]
    )
    if writing.grammar and tools.callable:
        raise Refused(
            "response_format: expected none beside tools: a call has a form of its own",
            param="response_format",
        )
    messages = read_messages(fields["messages"])
    return ChatRequest(writing, messages, fields["chat_template_kwargs"], tools)


def read_completion(document: object) -> CompletionRequest:
    """Read the body of a completion.

    Raises:
        Refused: as `read_chat`.
    """
    fields = read_fields(document, Endpoint.COMPLETIONS)
    prompts, choices, told = _prompts(fields["prompt"]), fields["n"], fields["logprobs"]
    if fields["best_of"] not in (None, choices):
        raise Refused(
            f"best_of: expected the value of n ({choices}), got {fields['best_of']}: every answer is told",
            param="best_of",
        )
    if fields["echo"] and told is not None:
        raise Refused(
            "echo: a prompt's log probabilities are not told; leave logprobs out", param="echo"
        )
    if len(prompts) * choices > MOST_CHOICES:
        raise Refused(
            f"n: expected at most {MOST_CHOICES} answers, got {len(prompts)} prompts with {choices} each",
            param="n",
        )
    writing = _writing(
        fields, max_tokens=fields["max_tokens"], max_tokens_field="max_tokens",
        tells_tokens=told is not None, likeliest=told or 0, choices=choices,
    )  # fmt: skip
    return CompletionRequest(writing, prompts, fields["echo"])


@dataclasses.dataclass(frozen=True)
class TranscriptionRequest:
    """`sound`: the bytes of a file; `language`: "": as the model begins by itself."""

    writing: Writing
    sound: bytes
    language: str
    plain: bool


def read_transcription(document: object) -> TranscriptionRequest:
    """Read the fields of a form.

    Raises:
        Refused: as `read_chat`.
    """
    fields = read_fields(document, Endpoint.TRANSCRIPTIONS)
    sound, seed = fields["file"], fields["seed"]
    if not isinstance(sound, bytes) or not sound:
        raise Refused("file: expected a file with a sound, got none", param="file")
    sampling = Sampling(
        temperature=fields["temperature"],
        seed=secrets.randbits(63) if seed is None else seed,
    )
    writing = Writing(
        model=fields["model"], max_tokens=None, max_tokens_field="file", sampling=sampling, stop=(),
        stop_tokens=(), ignore_end=False, speculation=True, grammar="", choices=1, tells_tokens=False,
        stream=False, tells_usage=False, shards=fields["shards"] or 0, browsers=fields["browsers"],
        platform="",
    )  # fmt: skip
    return TranscriptionRequest(
        writing, sound, fields["language"], fields["response_format"] == "text"
    )


def read_embedding(document: object) -> EmbeddingRequest:
    """Read the body of a request for embeddings.

    Raises:
        Refused: as `read_chat`.
    """
    fields = read_fields(document, Endpoint.EMBEDDINGS)
    given = fields["input"]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS:
        raise _not_texts("a text, or a list of 1 to 2048 of them", given)
    if not all(isinstance(text, str) and text for text in texts):
        raise _not_texts(
            "texts of at least one character (tokens are not taken: another model's would be read wrongly)",
            next(text for text in texts if not isinstance(text, str) or not text),
        )
    return EmbeddingRequest(
        fields["model"], tuple(texts), fields["encoding_format"] == "base64", fields["dimensions"],
        fields["browsers"], fields["platform"],
    )  # fmt: skip


def _not_texts(expected: str, got: object) -> Refused:
    return Refused(f"input: expected {expected}, got {got!r:.60}", param="input")


def _writing(
    fields: JsonView,
    *,
    max_tokens: int | None,
    max_tokens_field: str,
    tells_tokens: bool,
    likeliest: int,
    choices: int,
) -> Writing:
    if fields["stream_options"] and not fields["stream"]:
        raise Refused("stream_options: expected stream to be true as well", param="stream_options")
    seed = fields["seed"]
    names = (
        "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
        "repetition_penalty", "logit_bias",
    )  # fmt: skip
    sampling = Sampling(
        **{name: fields[name] for name in names},
        seed=secrets.randbits(63) if seed is None else seed,
        logprobs=likeliest,
    )
    return Writing(
        model=fields["model"],
        max_tokens=max_tokens,
        max_tokens_field=max_tokens_field,
        sampling=sampling,
        stop=fields["stop"],
        stop_tokens=fields["stop_token_ids"],
        ignore_end=fields["ignore_eos"],
        speculation=fields["speculation"],
        standbys=fields["standbys"],
        grammar=fields.get("response_format", ""),
        choices=choices,
        tells_tokens=tells_tokens,
        stream=fields["stream"],
        tells_usage=fields["stream_options"],
        shards=fields["shards"] or 0,
        browsers=fields["browsers"],
        platform=fields["platform"],
    )


def _prompts(given: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list) and given:
        if all(map(is_token, given)):
            return (tuple(given),)
        if len(given) <= MOST_CHOICES and all(map(_is_prompt, given)):
            return tuple(one if isinstance(one, str) else tuple(one) for one in given)
    raise Refused(
        f"prompt: expected a text, a list of at most {MOST_CHOICES} texts, a list of the model's tokens, or "
        f"a list of such lists, got {given!r:.60}",
        param="prompt",
    )


def _is_prompt(given: object) -> bool:
    if isinstance(given, list):
        return bool(given) and all(map(is_token, given))
    return isinstance(given, str)
