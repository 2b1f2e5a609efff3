"""From a request to what its sessions are asked: prompts as tokens, within context and vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from inference.catalog import registry
from inference.catalog.decoders import decoder_of
from inference.catalog.texts import chat_of, check_grammar, texts_of
from inference.core.generation.asked import Asked
from inference.core.generation.stages import Decoder
from inference.core.generation.wording.tools import STOPS, ToolCalls, ToolForm, form_of, grammar_of
from inference.core.generation.wording.vocabulary import Vocabulary
from inference.errors import InvalidRequest
from inference.generation import encoding
from inference.generation.encoding import Encoding
from inference.models import OnnxModel
from inference.wire.openai.reading import (
    ChatRequest,
    Writing,
    read_chat,
    read_completion,
)
from inference.wire.openai.refusals import Refused
from inference.wire.openai.tools import Tools


@dataclasses.dataclass(frozen=True)
class Question:
    """A request that can be asked.

    Attributes:
        asked: one session for each answer, in the order of their indices.
        before: what stands before each answer's text: the prompt that is echoed, or nothing.
        stop_tokens: those that end an answer, the model's own among them.
        prompt_tokens: of all prompts, each once.
        encoding: what is encoded for each session before it begins; empty where the model has no encoder.
        new_calls: finds calls of tools in one answer; gives None where it may call none.
    """

    model: OnnxModel
    vocabulary: Vocabulary
    writing: Writing
    asked: tuple[Asked, ...]
    before: tuple[str, ...]
    stop_tokens: frozenset[int]
    prompt_tokens: int
    encoding: tuple[Encoding, ...] = ()
    new_calls: Callable[[], ToolCalls | None] = lambda: None

    def parts(self) -> Iterator[Question]:
        """A question for each session that something is encoded for."""
        for asked, before, source in zip(self.asked, self.before, self.encoding, strict=True):
            yield dataclasses.replace(
                self,
                asked=(asked,),
                before=(before,),
                encoding=(source,),
                prompt_tokens=len(asked.prompt),
            )


def chat(document: object) -> Question:
    """A chat's question. Blocks.

    Raises:
        InvalidRequest: it cannot be asked; says why.
    """
    request = read_chat(document)
    model, decoder = writer(request.writing.model)
    tools = request.tools
    if not tools.callable:
        prompt = _chat_prompt(model, decoder, request)
        return question(model, decoder, request.writing, [prompt], "messages")
    form = _tool_form(model, decoder)
    told = dataclasses.replace(request, words={**request.words, "tools": list(tools.documents)})
    made = question(
        model, decoder, _calling(request.writing, form, tools), [_chat_prompt(model, decoder, told)],
        "messages",
    )  # fmt: skip
    names = [tool.name for tool in tools.callable]
    return dataclasses.replace(
        made, new_calls=lambda: ToolCalls(form, names, several=tools.several)
    )


def _tool_form(model: OnnxModel, decoder: Decoder) -> ToolForm:
    form = form_of(decoder.chat_template)
    if form is None:
        raise Refused(
            f"tools: expected none: the chat template of model {model.name} knows no tools, or has calls "
            "in a form that is not read here",
            param="tools",
            code="model_not_supported",
        )
    return form


def _calling(writing: Writing, form: ToolForm, tools: Tools) -> Writing:
    """With what holds the answers to calls, and ends them where they may have one only."""
    stop = writing.stop if tools.several else (*writing.stop, *STOPS[form])
    grammar = ""
    if tools.forced or any(tool.strict for tool in tools.callable):
        grammar = grammar_of(form, tools.callable, forced=tools.forced, several=tools.several)
    return dataclasses.replace(writing, stop=stop, grammar=grammar, grammar_field="tools")


def completion(document: object) -> Question:
    """A completion's question. Blocks.

    Raises:
        InvalidRequest: it cannot be asked; says why.
    """
    request = read_completion(document)
    model, decoder = writer(request.writing.model)
    prompts = [_prompt(model, prompt) for prompt in request.prompts]
    if decoder.encoder:
        made = _listening(model, decoder, request.writing, prompts)
    else:
        made = question(model, decoder, request.writing, prompts, "prompt")
    if not request.echo:
        return made
    before = [_shown(made.vocabulary, one) for one in request.prompts]
    repeated = [text for text in before for _ in range(request.writing.choices)]
    return dataclasses.replace(made, before=tuple(repeated))


def _listening(
    model: OnnxModel, decoder: Decoder, writing: Writing, prompts: Sequence[list[int]]
) -> Question:
    """What the prompts are is told by an encoder; the texts begin with the model's own first tokens."""
    if not encoding.takes_text(decoder):
        raise Refused(
            f"model {model.name} listens to sound; use /v1/audio/transcriptions",
            param="model",
            code="model_not_supported",
        )
    if not all(prompts):
        raise Refused("prompt: expected at least one token, got none", param="prompt")
    begun = [list(decoder.begins)] * len(prompts)
    made = question(model, decoder, writing, begun, "prompt")
    sources = [encoding.of_text(decoder, prompt) for prompt in prompts]
    return dataclasses.replace(
        made,
        encoding=tuple(source for source in sources for _ in range(writing.choices)),
        prompt_tokens=sum(map(len, prompts)),
    )


def writer(name: str) -> tuple[OnnxModel, Decoder]:
    """A model that writes text.

    Raises:
        UnknownModel, Refused: there is none of that name.
    """
    model = registry.get_model(name)
    try:
        return model, decoder_of(model)
    except InvalidRequest as error:
        raise Refused(str(error), param="model", code="model_not_supported") from None


def _chat_prompt(model: OnnxModel, decoder: Decoder, request: ChatRequest) -> list[int]:
    if not decoder.chat_template:
        raise Refused(
            f"model {model.name} has no chat template; use /v1/completions",
            param="model",
            code="model_not_supported",
        )
    template = chat_of(decoder.chat_template, decoder.special)
    try:
        text = template.render(request.messages, request.words)
    except InvalidRequest as error:
        raise Refused(str(error), param="messages") from error
    return texts_of(model).encode(text, special=False)


def _prompt(model: OnnxModel, prompt: str | tuple[int, ...]) -> list[int]:
    return texts_of(model).encode(prompt, special=True) if isinstance(prompt, str) else list(prompt)


def _shown(vocabulary: Vocabulary, prompt: str | tuple[int, ...]) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(vocabulary.text_bytes, prompt)).decode(errors="replace")


def question(
    model: OnnxModel, decoder: Decoder, writing: Writing, prompts: Sequence[list[int]], field: str
) -> Question:
    """A session for each prompt and choice.

    Args:
        field: what a caller calls the prompts.

    Raises:
        Refused: it cannot be asked; says which field is to blame.
    """
    _check_tokens(decoder, writing)
    _check_form(model, decoder, writing)
    if writing.shards > decoder.layers:
        raise Refused(
            f"shards: expected at most the model's {decoder.layers} layers, got {writing.shards}",
            param="shards",
        )
    own = () if writing.ignore_end else decoder.stop_tokens
    return Question(
        model=model,
        vocabulary=texts_of(model).vocabulary,
        writing=writing,
        asked=tuple(
            _asked(decoder, writing, prompt, number, field)
            for prompt in prompts
            for number in range(writing.choices)
        ),
        before=("",) * (len(prompts) * writing.choices),
        stop_tokens=frozenset((*own, *writing.stop_tokens)),
        prompt_tokens=sum(map(len, prompts)),
    )


def _asked(decoder: Decoder, writing: Writing, prompt: list[int], number: int, field: str) -> Asked:
    """Answer `number` to a prompt."""
    room = decoder.context - len(prompt)
    limit = room if writing.max_tokens is None else writing.max_tokens
    if not prompt:
        raise Refused(f"{field}: expected a prompt of at least one token, got none", param=field)
    if any(token >= decoder.vocabulary for token in prompt):
        raise Refused(
            f"{field}: expected tokens below {decoder.vocabulary}, got {max(prompt)}", param=field
        )
    if room < 1 or limit > room:
        asked = "" if writing.max_tokens is None else f" and {limit} for the answer"
        raise Refused(
            f"the model's context is {decoder.context} tokens, the prompt has {len(prompt)}{asked}; "
            "expected both to fit: shorten one of them",
            param=field if room < 1 else writing.max_tokens_field,
            code="context_length_exceeded",
        )
    seeded = dataclasses.replace(writing.sampling, seed=_seed(writing.sampling.seed, number))
    return Asked(
        prompt=tuple(prompt),
        max_tokens=limit,
        sampling=seeded,
        stop=writing.stop,
        stop_tokens=writing.stop_tokens,
        ignore_end=writing.ignore_end,
        speculation=writing.speculation,
        standbys=writing.standbys,
        grammar=writing.grammar,
        shards=writing.shards,
        browsers=writing.browsers,
        backend=writing.platform,
    )


def _seed(first: int, number: int) -> int:
    """Of answer `number`, within 64 bits with a sign."""
    return (first + number + 2**63) % 2**64 - 2**63


def _check_form(model: OnnxModel, decoder: Decoder, writing: Writing) -> None:
    if writing.grammar:
        try:
            check_grammar(model, decoder, writing.grammar)
        except InvalidRequest as error:
            field = writing.grammar_field
            raise Refused(f"{field}: {error}", param=field) from error


def _check_tokens(decoder: Decoder, writing: Writing) -> None:
    for field, tokens in (
        ("logit_bias", writing.sampling.logit_bias),
        ("stop_token_ids", writing.stop_tokens),
    ):
        if wrong := [token for token in tokens if token >= decoder.vocabulary]:
            raise Refused(
                f"{field}: expected tokens below {decoder.vocabulary}, got {wrong[0]}", param=field
            )
