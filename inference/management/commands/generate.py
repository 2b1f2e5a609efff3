"""manage.py generate: have a model write text on the pool of browsers, as it is written."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict, cast

from browsers.core.failures import Category
from inference.catalog import decoders, registry, texts
from inference.conversion.documents import parse
from inference.core.generation.asked import (
    Asked,
    Ended,
    Ending,
    Event,
    Paused,
    Resumed,
    TokenWritten,
)
from inference.core.generation.sampled import Sampling
from inference.core.generation.stages import Decoder
from inference.core.generation.wording.detokenize import Text
from inference.core.generation.wording.stops import StopTexts
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest, RunFailed
from inference.generation import encoding, hearing, report, serving
from inference.generation.encoding import Encoding
from inference.management.cli import TypedCommand
from inference.management.text_options import SAMPLED, add_text_options, read_text_options
from inference.models import OnnxModel
from inference.wire.openai.messages import read_messages

_MOST_TOKENS = 128
_OWNER = "command line"


class _Options(TypedDict):
    model: str
    prompt: str | None
    chat: Path | None
    tokens: str | None
    audio: Path | None
    language: str
    stop: list[str]
    no_speculation: bool
    json: bool


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one session writes; `source`: what an encoder reads or hears first."""

    asked: Asked
    source: Encoding | None = None


class Command(TypedCommand[_Options]):
    help = "Have a model write text on the pool of browsers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "--prompt", metavar="TEXT", help="what the text goes on from, or what an encoder reads"
        )
        source.add_argument(
            "--chat", type=Path, metavar="FILE.json", help="a list of messages: role and content"
        )
        source.add_argument("--tokens", metavar="IDS", help="the prompt as ids: 1,2,3")
        source.add_argument(
            "--audio", type=Path, metavar="FILE", help="what is heard: WAV, FLAC, MP3, Ogg"
        )
        parser.add_argument(
            "--language", default="", metavar="NAME", help="what is spoken there, such as en"
        )
        add_text_options(
            parser,
            {
                "max_tokens": f"missing: {_MOST_TOKENS}, or of what is heard as many as there is room for",
                "seed": "the same seed gives the same text",
            },
        )
        parser.add_argument("--stop", action="append", default=[], metavar="TEXT")
        parser.add_argument(
            "--no-speculation",
            action="store_true",
            help="one token a step, also where several are likely; the text is the same",
        )
        parser.add_argument("--json", action="store_true", help="facts of each stage, at the end")

    def carry_out(self, options: _Options) -> None:
        model = registry.get_model(options["model"])
        parts = _parts(model, options)
        quiet = options["json"]
        made = [self._written(model, part, quiet=quiet) for part in parts]
        if not quiet:
            self.stdout.write("")
        elif options["audio"] is None:
            self.stdout.write(json.dumps(made[0], indent=2))
        else:
            text = "".join(one["text"] for one in made)
            self.stdout.write(json.dumps({"text": text, "windows": made}, indent=2))

    def _written(self, model: OnnxModel, part: _Part, *, quiet: bool) -> JsonObject:
        """Have one session write; what became of it."""
        heard = encoding.NOTHING
        if part.source is not None:
            heard = encoding.hear(part.source, part.asked, _OWNER)
        session = serving.start(
            model, part.asked, _OWNER, memory=heard.memory, beside=heard.browsers
        )
        try:
            text = self._tell(model, part.asked, session, quiet=quiet)
        except KeyboardInterrupt:
            serving.cancel(session)
            raise
        return {
            **report.of_session(session),
            "encoder": list(heard.browsers) if part.source is not None else None,
            "text": text,
        }

    def _tell(self, model: OnnxModel, asked: Asked, session: str, *, quiet: bool) -> str:
        """Print the text as it comes; returns it."""
        pieces = []
        for piece in _pieces(model, asked, serving.listen(session), self._say):
            pieces.append(piece)
            if not quiet:
                self.stdout.write(piece, ending="")
                self.stdout.flush()
        return "".join(pieces)

    def _say(self, event: Event) -> None:
        """What is no text goes to stderr."""
        match event:
            case Paused(stage, why):
                self.stderr.write(f"\n[stage {stage} was lost: {why}]")
            case Resumed(stage, browser, how, seconds):
                self.stderr.write(f"[stage {stage} goes on in {browser} by {how}, {seconds:.2f} s]")
            case Ended(Ending.FAILED, _, tokens, _, error, category):
                raise RunFailed(
                    f"the text ended after {tokens} tokens: {error}",
                    category=Category.of(category or Category.INTERNAL),
                    run_id="",
                )


def _pieces(
    model: OnnxModel, asked: Asked, events: Iterator[Event], say: Callable[[Event], None]
) -> Iterator[str]:
    """The text as far as it is sure; without a tokenizer, the ids."""
    text = Text(texts.texts_of(model).vocabulary) if model.tokenizer else None
    stops = StopTexts(asked.stop)
    for event in events:
        if isinstance(event, TokenWritten):
            yield stops.add(text.add(event.pick.token) if text else f"{event.pick.token} ")
        else:
            say(event)
    if text is not None:
        yield stops.add(text.end())
    yield stops.end()


def _parts(model: OnnxModel, options: _Options) -> Sequence[_Part]:
    """What is to be written, one after another: of a sound a text for each of its windows.

    Raises:
        InvalidRequest: it cannot be; says why.
    """
    decoder = decoders.decoder_of(model)
    if options["audio"] is not None:
        return _heard(model, decoder, options["audio"], options)
    if options["language"]:
        raise InvalidRequest("--language goes with --audio")
    prompt = _prompt(model, decoder, options)
    if not decoder.encoder:
        return [_Part(_asked(options, prompt))]
    if not encoding.takes_text(decoder):
        raise InvalidRequest(f"model {model.name} listens to sound; use --audio")
    if not prompt:
        raise InvalidRequest("expected a prompt of at least one token, got none")
    return [_Part(_asked(options, decoder.begins), encoding.of_text(decoder, prompt))]


def _heard(model: OnnxModel, decoder: Decoder, file: Path, options: _Options) -> Sequence[_Part]:
    if not hearing.hears(decoder):
        raise InvalidRequest(
            f"model {model.name} hears no sound: expected a decoder whose encoder takes input_features"
        )
    try:
        sound = file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"--audio {file}: {error.strerror}") from error
    begins = hearing.begins(model, decoder, options["language"])
    room = max(1, decoder.context - len(begins))
    asked = _asked(options, begins, most=room)
    try:
        return [_Part(asked, source) for source in hearing.windows(decoder, sound)]
    except InvalidRequest as error:
        raise InvalidRequest(f"--audio {file}: {error}") from error


def _asked(options: _Options, prompt: Sequence[int], most: int = _MOST_TOKENS) -> Asked:
    how = read_text_options(cast("JsonView", options), options["stop"])
    given = how["max_tokens"]
    return Asked(
        prompt=tuple(prompt),
        max_tokens=most if given is None else given,
        sampling=Sampling(**{name: how[name] for name in SAMPLED}),
        stop=how["stop"],
        shards=how["shards"] or 0,
        browsers=how["browsers"],
        backend=how["platform"],
        speculation=not options["no_speculation"],
        standbys=how["standbys"],
    )


def _prompt(model: OnnxModel, decoder: Decoder, options: _Options) -> list[int]:
    if options["tokens"]:
        try:
            return [int(word) for word in options["tokens"].split(",")]
        except ValueError as error:
            raise InvalidRequest(f"--tokens {options['tokens']!r}: expected 1,2,3") from error
    if options["prompt"] is not None:
        return texts.texts_of(model).encode(options["prompt"], special=True)
    if not decoder.chat_template:
        raise InvalidRequest(f"model {model.name} has no chat template; use --prompt")
    try:
        assert options["chat"] is not None  # the parser wants one of the four
        messages = parse(options["chat"].read_bytes())
    except (OSError, InvalidRequest) as error:
        raise InvalidRequest(f"--chat {options['chat']}: {error}") from error
    chat = texts.chat_of(decoder.chat_template, decoder.special)
    text = chat.render(read_messages(messages), {})
    return texts.texts_of(model).encode(text, special=False)
