"""Each field of a request declared once: what it may be, what it does, who takes it.

Requests are read by these rows; tests and the tables of docs/api.md are made of them. A field of OpenAI's
that does nothing here is a row, too, which says so: it is refused unless its value asks for nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import json

from inference.core.generation.asked import MOST_STANDBYS
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.runs.option_kinds import Choice, Flag, Kind, Names
from inference.scheduling.wishes import PLATFORMS
from inference.wire.openai.kinds import (
    Anything,
    Biases,
    Count,
    Form,
    Language,
    Number,
    Only,
    Stops,
    StreamOptions,
    Text,
    Tokens,
    Words,
)
from inference.wire.openai.refusals import Refused

MOST_CHOICES = 16  # answers to one request
MOST_TOKENS = 2**31 - 1


class Endpoint(enum.Enum):
    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    TRANSCRIPTIONS = "/v1/audio/transcriptions"


_CHAT, _COMPLETIONS, _EMBEDDINGS, _SOUND = (frozenset({one}) for one in Endpoint)
_TEXT = _CHAT | _COMPLETIONS
_EVERY = frozenset(Endpoint)


@dataclasses.dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: as OpenAI calls it, or, where they have none, as vLLM and webpool's other doors do.
        kind: what its value may be.
        help: what it does.
        endpoints: those that take it.
        default: what a field that is missing or null means; shown unless it is None.
        required: whether it must be there.
    """

    name: str
    kind: Kind
    help: str
    endpoints: frozenset[Endpoint]
    default: object = None
    required: bool = False

    @property
    def served(self) -> bool:
        return not isinstance(self.kind, Only)


def _unserved(name: str, endpoints: frozenset[Endpoint], why: str, *harmless: object) -> Field:
    return Field(name, Only(harmless, why), "", endpoints)


_OLD = "it has given way to tools"

FIELDS: tuple[Field, ...] = (
    Field("model", Text(), "a model's name", _EVERY, required=True),
    Field(
        "messages",
        Anything("a list of messages"),
        "the chat: objects with `role` and `content`, a text or "
        "a list of text parts, as the model's own chat template takes them",
        _CHAT,
        required=True,
    ),
    Field(
        "prompt",
        Anything("a text, a list of texts, a list of tokens, or a list of such lists"),
        "what is continued; tokens are the model's own",
        _COMPLETIONS,
        required=True,
    ),
    Field(
        "input",
        Anything("a text or a list of texts"),
        "what is embedded, at most 2048 texts",
        _EMBEDDINGS,
        required=True,
    ),
    Field("file", Anything("a file"), "the sound: WAV, FLAC, MP3, Ogg", _SOUND, required=True),
    Field(
        "language",
        Language(),
        "what is spoken, where the tokenizer has a token for it; missing: the model's own beginning",
        _SOUND,
        default="",
    ),
    Field(
        "max_completion_tokens",
        Count(1, MOST_TOKENS),
        "tokens of an answer, at most; missing: as many as the model's context has room for",
        _CHAT,
    ),
    Field("max_tokens", Count(1, MOST_TOKENS), "the same, by its older name", _CHAT),
    Field(
        "max_tokens",
        Count(1, MOST_TOKENS),
        "tokens of an answer, at most",
        _COMPLETIONS,
        default=16,
    ),
    Field("temperature", Number(0, 2), "0: always the likeliest token", _TEXT, default=1.0),
    Field("temperature", Number(0, 1), "0: always the likeliest token", _SOUND, default=0.0),
    Field(
        "response_format",
        Choice(("json", "text")),
        "json: `text` and `usage`; text: nothing else",
        _SOUND,
        default="json",
    ),
    Field(
        "seed",
        Count(-(2**63), 2**63 - 1),
        "the same sound with the same seed gives the same text; missing: another one each time",
        _SOUND,
    ),
    Field(
        "top_p",
        Number(0, 1),
        "draw among the fewest tokens whose probabilities reach it",
        _TEXT,
        default=1.0,
    ),
    Field(
        "top_k", Count(0, MOST_TOKENS), "draw among so many tokens; 0: among all", _TEXT, default=0
    ),
    Field(
        "min_p",
        Number(0, 1),
        "draw among tokens of at least this share of the largest probability",
        _TEXT,
        default=0.0,
    ),
    Field(
        "frequency_penalty",
        Number(-2, 2),
        "taken off a token's logit for each time the answer has it",
        _TEXT,
        default=0.0,
    ),
    Field(
        "presence_penalty", Number(-2, 2), "taken off once if the answer has it", _TEXT, default=0.0
    ),
    Field(
        "repetition_penalty",
        Number(0.01, 10),
        "divides positive logits of tokens in prompt or answer, multiplies negative ones",
        _TEXT,
        default=1.0,
    ),
    Field("logit_bias", Biases(), "added to the logits of tokens", _TEXT, default={}),
    Field(
        "seed",
        Count(-(2**63), 2**63 - 1),
        "the same request with the same seed gives the same text (choice "
        "number i uses seed + i); missing: another one each time",
        _TEXT,
    ),
    Field("stop", Stops(), "texts that end the answer and are no part of it", _TEXT, default=()),
    Field("stop_token_ids", Tokens(), "tokens that do, beside the model's own", _TEXT, default=()),
    Field("ignore_eos", Flag(), "go on beyond the model's own last token", _TEXT, default=False),
    Field(
        "speculation",
        Flag(),
        "compute tokens that are likely to come beside the next one; the text is the same",
        _TEXT,
        default=True,
    ),
    Field(
        "standbys",
        Count(0, MOST_STANDBYS),
        "in how many more browsers each stage is computed, so that one of them can go on at once",
        _TEXT,
        default=0,
    ),
    Field(
        "n",
        Count(1, MOST_CHOICES),
        f"answers to each prompt; {MOST_CHOICES} to a request, at most",
        _TEXT,
        default=1,
    ),
    Field("best_of", Count(1, MOST_CHOICES), "taken where it equals `n`", _COMPLETIONS),
    Field(
        "echo",
        Flag(),
        "the answer begins with the prompt; not with `logprobs`",
        _COMPLETIONS,
        default=False,
    ),
    Field("logprobs", Flag(), "tell each token with its log probability", _CHAT, default=False),
    Field(
        "top_logprobs",
        Count(0, 20),
        "and so many of the likeliest instead; needs `logprobs`",
        _CHAT,
    ),
    Field(
        "logprobs",
        Count(0, 5),
        "tell each token's log probability, and so many of the likeliest",
        _COMPLETIONS,
    ),
    Field(
        "stream",
        Flag(),
        "send the answer as it is written, as server-sent events",
        _TEXT,
        default=False,
    ),
    Field(
        "stream_options",
        StreamOptions(),
        "`include_usage`: a last event with the usage; needs `stream`",
        _TEXT,
        default=False,
    ),
    Field(
        "response_format",
        Form(),
        "hold the answer to a form: JSON, or JSON by a JSON Schema, each token chosen among those that can "
        "still lead to it; what of a schema cannot be held to is refused",
        _CHAT,
        default="",
    ),
    Field(
        "tools",
        Anything("a list of functions"),
        "what the model may call, told to its chat template; refused where that knows none, or has calls "
        "written in another form than Hermes' (`<tool_call>`) or Llama's; `strict` holds calls to their "
        "schema",
        _CHAT,
    ),
    Field(
        "tool_choice",
        Anything("`none`, `auto`, `required`, or a function by its name"),
        "`required` and a name hold the text to a call with right arguments; missing: `auto`",
        _CHAT,
    ),
    Field(
        "parallel_tool_calls",
        Flag(),
        "an answer may call more than one tool, or the same one again",
        _CHAT,
        default=True,
    ),
    Field("chat_template_kwargs", Words(), "told to the model's chat template", _CHAT, default={}),
    Field(
        "shards",
        Count(1, 10_000),
        "into how many stages the model is cut; missing: as the pool decides",
        _TEXT | _SOUND,
    ),
    Field(
        "browsers",
        Names(),
        "ids, kinds or families that may be used; missing: any",
        _EVERY,
        default=(),
    ),
    Field(
        "platform",
        Choice(("wasm", "webgpu")),
        "missing: wasm, whose numbers, and so a text, are the same in every browser",
        _TEXT,
        default="",
    ),
    Field(
        "platform",
        Choice(PLATFORMS),
        "missing: the fastest measured one of each browser",
        _EMBEDDINGS,
        default="",
    ),
    Field(
        "encoding_format",
        Choice(("float", "base64")),
        "base64: float32, little-endian",
        _EMBEDDINGS,
        default="float",
    ),
    Field("dimensions", Count(1, MOST_TOKENS), "taken where it is the model's own", _EMBEDDINGS),
    _unserved("functions", _CHAT, _OLD, []),
    _unserved("function_call", _CHAT, _OLD, "none", "auto"),
    _unserved("modalities", _CHAT, "answers are text", ["text"]),
    _unserved("audio", _CHAT, "answers are text"),
    _unserved("prediction", _CHAT, "nothing is predicted here"),
    _unserved(
        "reasoning_effort",
        _CHAT,
        "what a model knows of it, its template is told by chat_template_kwargs",
    ),
    _unserved("verbosity", _CHAT, "models here know none", "medium"),
    _unserved("web_search_options", _CHAT, "nothing is searched here"),
    _unserved("store", _CHAT, "chats are not kept", False),
    _unserved("metadata", _CHAT, "chats are not kept", {}),
    _unserved("service_tier", _CHAT, "there is one", "auto", "default"),
    _unserved("prompt_cache_key", _CHAT, "kept caches are found by the prompt itself"),
    _unserved("prompt_cache_retention", _CHAT, "for how long caches are kept is the pool's to say"),
    _unserved("safety_identifier", _CHAT, "your users are not told apart here"),
    _unserved("suffix", _COMPLETIONS, "text is continued at its end"),
    _unserved("stream", _SOUND, "transcripts are told whole", False),
    _unserved("prompt", _SOUND, "transcripts begin with nothing", ""),
    _unserved("include", _SOUND, "tokens are not told here"),
    _unserved("timestamp_granularities", _SOUND, "times are not told"),
    _unserved("chunking_strategy", _SOUND, "sound is cut into windows of the model's own length"),
    _unserved("user", _TEXT | _EMBEDDINGS, "your users are not told apart here"),
)


def fields_of(endpoint: Endpoint) -> list[Field]:
    return [field for field in FIELDS if endpoint in field.endpoints]


def read_fields(document: object, endpoint: Endpoint) -> JsonObject:
    """A request's fields by their names, those that are missing or null with what that means.

    Raises:
        Refused: an unknown field, one that is missing, or a value that cannot be; says which field.
    """
    if not isinstance(document, dict):
        raise Refused("expected a JSON object", code="invalid_type")
    taken = {field.name: field for field in fields_of(endpoint)}
    if unknown := sorted(document.keys() - taken.keys()):
        raise Refused(
            f"unknown field {unknown[0]!r:.100}; {endpoint.value} takes "
            f"{', '.join(sorted(name for name, field in taken.items() if field.served))}",
            param=unknown[0][:100],
            code="unknown_parameter",
        )
    return {name: _read(field, document) for name, field in taken.items()}


def _read(field: Field, document: JsonView) -> object:
    value = document.get(field.name)
    if value is None:
        if field.required:
            raise Refused(
                f"{field.name}: expected {field.kind.expected}, got none",
                param=field.name,
                code="missing_required_parameter",
            )
        return field.default
    try:
        return field.kind.read(field.name, value)
    except InvalidRequest as error:
        code = "invalid_value" if field.served else "unsupported_parameter"
        raise Refused(str(error), param=field.name, code=code) from None


def table(endpoint: Endpoint) -> str:
    """The fields of an endpoint as the documentation shows them."""
    rows = ["| field | value | what it does |", "|---|---|---|"]
    for field in fields_of(endpoint):
        if field.served:
            shown = field.default is not None and field.default not in ((), {}, "")
            missing = f" ({json.dumps(field.default)})" if shown else ""
            rows.append(f"| `{field.name}` | {field.kind.expected}{missing} | {field.help} |")
    return "\n".join(rows)


def unserved_table(endpoint: Endpoint) -> str:
    """Those that are refused, unless they ask for nothing."""
    rows = ["| refused | unless it is null or | why |", "|---|---|---|"]
    for field in fields_of(endpoint):
        if isinstance(field.kind, Only):
            harmless = ", ".join(f"`{json.dumps(one)}`" for one in field.kind.harmless)
            rows.append(f"| `{field.name}` | {harmless} | {field.kind.why} |")
    return "\n".join(rows)
