"""A language model, cut over two browser families, writes; one of them is killed; the text goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from django.conf import settings

from browsers.state.live import LiveBrowser
from inference.catalog import decoders, registry, texts
from inference.core.generation.asked import Asked, Ended, Ending, Paused, Resumed, TokenWritten
from inference.core.generation.wording.detokenize import Text
from inference.errors import WebpoolError
from inference.generation import report, serving
from inference.models import OnnxModel
from inference.zoo import smollm
from webpool_site.lab.faults.targets import NoTarget, Target, Targets

MODEL = "smollm2"
QUESTION = "What is the capital of France, and what is it known for?"
_TOKENS = 24
_KILL_AFTER = 8
# Two owners: the second text computes its prompt, too, instead of going on from the first one's kept caches.
_UNDISTURBED, _KILLED = "demo", "demo with a kill"


@dataclasses.dataclass
class _Written:
    """A text as it was heard: its tokens, how long they took, and what was lost meanwhile."""

    tokens: list[int] = dataclasses.field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0
    resumed: list[Resumed] = dataclasses.field(default_factory=list)


class Writing:
    """The demo's last part; `say` prints a line, `write` a part of one."""

    def __init__(self, say: Callable[[str], object], write: Callable[[str], object]) -> None:
        self._say, self._write = say, write

    def show(self, pool: Sequence[LiveBrowser]) -> int:
        """Returns how many texts were wrong, or not written."""
        pair = _two_families(pool)
        model = registry.get_model(MODEL)
        asked = _asked(model, pair)
        self._say(
            f"\n5. {MODEL} (SmolLM2-135M-Instruct, {smollm.LICENCE}) cut into two stages, over "
            + " and ".join(pair)
        )
        self._say(f"   asked: {QUESTION}")
        try:
            undisturbed = self._listen(model, asked, kill=False)
            killed = self._listen(model, asked, kill=True)
        except WebpoolError as error:
            self._say(f"   FAILED: {error}")
            return 1
        return self._compare(undisturbed, killed)

    def _listen(self, model: OnnxModel, asked: Asked, *, kill: bool) -> _Written:
        heard, text = _Written(), Text(texts.texts_of(model).vocabulary)
        session = serving.start(model, asked, _KILLED if kill else _UNDISTURBED)
        began = time.monotonic()
        self._write("   with a kill: " if kill else "   undisturbed: ")
        for event in serving.listen(session):
            match event:
                case TokenWritten():
                    heard.last_s = time.monotonic() - began
                    heard.first_s = heard.first_s or heard.last_s
                    heard.tokens.append(event.pick.token)
                    self._write(text.add(event.pick.token).replace("\n", " "))
                    if kill and len(heard.tokens) == _KILL_AFTER:
                        self._kill(report.of_session(session)["stages"][-1]["browser"])
                case Paused():
                    self._write(" …")
                case Resumed():
                    self._write("… ")
                    heard.resumed.append(event)
                case Ended(Ending.FAILED):
                    raise WebpoolError(event.error)
        self._say(text.end())
        return heard

    def _kill(self, browser: str) -> None:
        try:
            Targets(settings.WEBPOOL_HOME).find(Target.BROWSER, browser).kill()
        except NoTarget as error:
            raise WebpoolError(f"the demo found no browser to kill: {error}") from error
        self._write(f" [{browser} is killed]")

    def _compare(self, undisturbed: _Written, killed: _Written) -> int:
        same = undisturbed.tokens == killed.tokens
        count = len(undisturbed.tokens)
        speed = (count - 1) / max(undisturbed.last_s - undisturbed.first_s, 1e-9)
        lost = "; ".join(
            f"stage {one.stage} went on in {one.browser} by {one.how} after {one.seconds:.1f} s"
            for one in killed.resumed
        )
        self._say(
            f"   {'RIGHT: the same' if same else 'WRONG: another'} text of {count} tokens, "
            f"undisturbed the first after {undisturbed.first_s:.1f} s (with loading), then {speed:.1f} "
            "tokens/s; "
            f"{lost or 'nothing was lost'}"
        )
        return int(not same or not killed.resumed)


def _two_families(pool: Sequence[LiveBrowser]) -> tuple[str, ...]:
    """A browser of each of two families, if there are two."""
    first: dict[str, str] = {}
    for browser in pool:
        first.setdefault(browser.family, browser.id)
    return tuple(first.values())[:2]


def _asked(model: OnnxModel, pair: tuple[str, ...]) -> Asked:
    known = decoders.decoder_of(model)
    chat = texts.chat_of(known.chat_template, known.special)
    text = chat.render([{"role": "user", "content": QUESTION}], {})
    prompt = tuple(texts.texts_of(model).encode(text, special=False))
    return Asked(prompt=prompt, max_tokens=_TOKENS, shards=2, browsers=pair)
