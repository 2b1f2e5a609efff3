"""manage.py generate: have a model write text on the pool of browsers, as it is written."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from browsers.core.failures import Category
from inference.catalog import decoders, registry, texts
from inference.core.generation.asked import (
    Asked,
    Ended,
    Ending,
    Event,
    Paused,
    Resumed,
    TokenWritten,
)
from inference.core.generation.detokenize import Text
from inference.core.generation.sampled import Sampling
from inference.core.generation.stops import StopTexts
from inference.errors import InvalidRequest, RunFailed
from inference.generation import placing, report, serving
from inference.management.cli import TypedCommand
from inference.models import OnnxModel

_MOST_TOKENS = 128


class _Options(TypedDict):
    model: str
    prompt: str | None
    chat: Path | None
    tokens: str | None
    shards: int
    browsers: str
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: list[str]
    platform: str
    no_speculation: bool
    json: bool


class Command(TypedCommand[_Options]):
    help = "Have a model write text on the pool of browsers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--prompt", metavar="TEXT", help="what the text goes on from")
        source.add_argument(
            "--chat", type=Path, metavar="FILE.json", help="a list of messages: role and content"
        )
        source.add_argument("--tokens", metavar="IDS", help="the prompt as ids: 1,2,3")
        parser.add_argument(
            "--shards", type=int, default=0, help="in how many pieces; 0: as few as fit"
        )
        parser.add_argument(
            "--browsers", default="", metavar="A,B", help="only these ids, kinds, families"
        )
        parser.add_argument("--max-tokens", type=int, default=_MOST_TOKENS)
        parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token")
        parser.add_argument("--top-p", type=float, default=1.0)
        parser.add_argument("--top-k", type=int, default=0)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--stop", action="append", default=[], metavar="TEXT")
        parser.add_argument(
            "--platform",
            default="",
            choices=("", *placing.BACKENDS),
            help="wasm, unless it is said: its numbers are the same in every browser",
        )
        parser.add_argument(
            "--no-speculation",
            action="store_true",
            help="one token a step, also where several are likely; the text is the same",
        )
        parser.add_argument("--json", action="store_true", help="facts of each stage, at the end")

    def carry_out(self, options: _Options) -> None:
        model = registry.get_model(options["model"])
        asked = _asked(model, options)
        session = serving.start(model, asked, "command line")
        try:
            text = self._tell(model, asked, session, quiet=options["json"])
        except KeyboardInterrupt:
            serving.cancel(session)
            raise
        if options["json"]:
            document = {**report.of_session(session), "text": text}
            self.stdout.write(json.dumps(document, indent=2))

    def _tell(self, model: OnnxModel, asked: Asked, session: str, *, quiet: bool) -> str:
        """Print the text as it comes; returns it."""
        pieces = []
        for piece in _pieces(model, asked, serving.listen(session), self._say):
            pieces.append(piece)
            if not quiet:
                self.stdout.write(piece, ending="")
                self.stdout.flush()
        if not quiet:
            self.stdout.write("")
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


def _asked(model: OnnxModel, options: _Options) -> Asked:
    sampling = Sampling(
        temperature=options["temperature"],
        top_p=options["top_p"],
        top_k=options["top_k"],
        seed=options["seed"],
    )
    return Asked(
        prompt=tuple(_prompt(model, options)),
        max_tokens=options["max_tokens"],
        sampling=sampling,
        stop=tuple(options["stop"]),
        shards=options["shards"],
        browsers=tuple(name for name in options["browsers"].split(",") if name),
        backend=options["platform"],
        speculation=not options["no_speculation"],
    )


def _prompt(model: OnnxModel, options: _Options) -> list[int]:
    if options["tokens"]:
        try:
            return [int(word) for word in options["tokens"].split(",")]
        except ValueError as error:
            raise InvalidRequest(f"--tokens {options['tokens']!r}: expected 1,2,3") from error
    if options["prompt"] is not None:
        return texts.texts_of(model).encode(options["prompt"], special=True)
    decoder = decoders.decoder_of(model)
    if not decoder.chat_template:
        raise InvalidRequest(f"model {model.name} has no chat template; use --prompt")
    try:
        assert options["chat"] is not None  # the parser wants one of the three
        messages = json.loads(options["chat"].read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--chat {options['chat']}: {error}") from error
    text = texts.chat_of(decoder.chat_template, decoder.special).render(messages, {})
    return texts.texts_of(model).encode(text, special=False)
