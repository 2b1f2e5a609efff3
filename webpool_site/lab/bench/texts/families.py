"""The lines of the table for texts: a Llama in two stages, T5 and Whisper with encoder and decoder apart.

For each line: its browsers are killed, so that they hold nothing; their memory is read; a text is written,
which loads; their memory is read again; texts are timed; then texts are hurt by SIGKILL of a browser that
holds a stage, each with its text checked: without standbys, and with one for each stage.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.conf import settings

from inference.catalog import decoders, registry
from inference.checkpoints.described import Described
from inference.core.generation.asked import Asked, Ended, Ending, TokenWritten
from inference.errors import WebpoolError
from inference.generation import encoding, report, serving
from inference.generation.encoding import Encoding
from inference.graph.decoding.reference import Native
from inference.graph.reference import reference
from inference.models import ModelType, OnnxModel
from inference.store.tensors import decode_array
from inference.zoo import decoder, listening
from inference.zoo.weights import Seeded
from webpool_site.lab.bench import emptied
from webpool_site.lab.bench.stats import Progress, Table, short
from webpool_site.lab.bench.subjects import SHAPES
from webpool_site.lab.faults.health import NotHealed
from webpool_site.lab.faults.injection import Fault, inject
from webpool_site.lab.faults.targets import NoTarget, Target, Targets

_TOKENS, _TEXTS, _KILLS, _OWNER = 160, 3, 3, "bench"
_BEGINS = (1, 2)
_FOLLOWED_WITHIN: Final = 0.75  # of a text: a kill comes before the rest of it
_COLUMNS = (
    "family", "stages", "standbys", "browsers", "PSS MB", "added MB/stage", "tokens/s", "first token ms",
    "p50 ms", "p95 ms", "kills", "recovery ms", "by", "right",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Writer:
    """A registered model that writes, what it is asked, and onnxruntime's text."""

    family: str
    model: OnnxModel
    prompt: tuple[int, ...]
    stages: int
    source: Encoding | None
    right: Sequence[int]


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A text; `at`: when each token came, in s since it was asked for; `pause`: after the kill, in s."""

    tokens: Sequence[int]
    at: Sequence[float]
    right: bool
    browsers: Sequence[str]
    pause: float | None
    ways: Sequence[str]


def measure(browsers: Sequence[str]) -> Iterator[Table | str]:
    """A line without standbys and one with a standby for each stage, for each family."""
    lines = []
    for writer in writers():
        for standbys in (0, 1):
            named, began = f"{writer.family} text, {standbys} standbys", time.monotonic()
            try:
                line = _Line(writer, standbys, browsers).measured()
            except (NotHealed, NoTarget, WebpoolError) as failure:
                yield f"{named}: not measured: {failure}"
                continue
            lines.append(line)
            case = dict(zip(_COLUMNS, line, strict=True))
            yield Progress(
                f"  {named}: {short(case['tokens/s'])} tokens/s, recovery {short(case['recovery ms'])} ms, "
                f"right: {case['right']} ({time.monotonic() - began:.0f} s)"
            )
    yield Table(
        f"texts of {_TOKENS} tokens, one at a time (shapes as above; `p50 ms` per token; `recovery ms`: from "
        "SIGKILL of a browser with a stage to the next token, median of those that lost one; an encoder "
        "computes in another browser)",
        _COLUMNS,
        tuple(lines),
    )


def writers() -> Iterator[Writer]:
    """Draw, register and have onnxruntime write."""
    yield _llama()
    source = np.random.default_rng(3)
    t5_, whisper_ = SHAPES["t5"].config, SHAPES["whisper"].config
    words = source.integers(0, t5_.vocabulary, 8)
    graphs = listening.t5_graphs(t5_)
    yield _listener(
        "t5", graphs, {"input_ids": words[None], "attention_mask": np.ones((1, 8), np.int64)}
    )
    sound = source.standard_normal((whisper_.mels, whisper_.frames)).astype(np.float32)
    yield _listener("whisper", listening.whisper_graphs(whisper_), {"input_features": sound[None]})


def _llama() -> Writer:
    c = SHAPES["llama"].config
    config = decoder.DecoderConfig(
        layers=c.layers, hidden=c.hidden, heads=c.heads, groups=c.groups, intermediate=c.intermediate,
        head_size=c.hidden // c.heads, vocabulary=c.vocabulary, context=c.positions, tied=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.graph(config, weights=Seeded(11)).save(Path(folder) / "model.onnx")
        model = registry.add_model(
            path, name="bench-text-llama", model_type=ModelType.TEXT, drawn=True
        )
        native = Native([(path, decoders.decoder_of(model).whole)])
        prompt = tuple(range(1, 17))
        return Writer("llama", model, prompt, 2, None, native.greedy(prompt, _TOKENS))


def _listener(family: str, graphs: Mapping[str, Any], heard: Mapping[str, Any]) -> Writer:
    name = f"bench-text-{family}"
    with tempfile.TemporaryDirectory() as folder:
        paths = {part: graph.save(Path(folder) / f"{part}.onnx") for part, graph in graphs.items()}
        registry.add_model(paths["encoder"], name=f"{name}-encoder")
        described = Described(context=_TOKENS + 8, encoder=f"{name}-encoder", begins=_BEGINS)
        model = registry.add_model(
            paths["decoder"],
            name=name,
            model_type=ModelType.TEXT,
            described=described,
            drawn=True,
        )
        known = decoders.decoder_of(model)
        if "input_ids" in heard:
            source = encoding.of_text(known, heard["input_ids"][0].tolist())
        else:
            source = encoding.of_sound(known, heard["input_features"][0])
        given = {each.name: decode_array(each) for each in source.inputs}
        memory = reference(paths["encoder"], {**heard, **given})
        native = Native([(paths["decoder"], known.whole)], memory)
        return Writer(family, model, _BEGINS, 1, source, native.greedy(_BEGINS, _TOKENS))


class _Line:
    """One line of the table."""

    def __init__(self, writer: Writer, standbys: int, browsers: Sequence[str]) -> None:
        self._writer, self._browsers, self._home = writer, browsers, settings.WEBPOOL_HOME
        self._asked = Asked(
            writer.prompt, _TOKENS, ignore_end=True, shards=writer.stages, browsers=tuple(browsers),
            speculation=False, standbys=standbys,
        )  # fmt: skip

    def measured(self) -> tuple[Any, ...]:
        """The line's cells; None where nothing could be measured."""
        home, browsers = self._home, self._browsers
        emptied.empty(home, browsers)
        before = {browser: emptied.memory_mb(home, browser) for browser in browsers}
        self._write()  # loads
        timed = [self._write() for _ in range(_TEXTS)]
        used = sorted({browser for one in timed for browser in one.browsers})
        after = {browser: emptied.memory_mb(home, browser) for browser in used}
        added = emptied.total(emptied.less(after[b], before[b]) for b in used)
        hurt = [self._hurt() for _ in range(_KILLS)]
        hits = [one for one in hurt if one.ways and one.pause is not None]
        between = [
            1000 * (later - earlier)
            for one in timed
            for earlier, later in itertools.pairwise(one.at)
        ]
        return (
            self._writer.family,
            self._writer.stages,
            self._asked.standbys,
            "+".join(used),
            emptied.total(after.values()),
            added / self._writer.stages if added is not None else None,
            1000 / statistics.mean(between),
            1000 * statistics.median(one.at[0] for one in timed),
            statistics.median(between),
            float(np.percentile(between, 95)),
            len(hurt),
            1000 * statistics.median(one.pause or 0.0 for one in hits) if hits else None,
            ", ".join(sorted({way for one in hits for way in one.ways})),
            all(one.right for one in (*timed, *hurt)),
        )

    def _hurt(self) -> _Heard:
        try:
            return self._write(kill=True)
        finally:
            emptied.make_whole(self._home, self._browsers)

    def _write(self, *, kill: bool = False) -> _Heard:
        """One text, listened to."""
        began = time.monotonic()
        heard = encoding.NOTHING
        if self._writer.source is not None:
            heard = encoding.hear(self._writer.source, self._asked, _OWNER)
        session = serving.start(
            self._writer.model, self._asked, _OWNER, memory=heard.memory, beside=heard.browsers
        )
        tokens: list[int] = []
        at: list[float] = []
        killed: float | None = None
        ending = Ending.FAILED
        for event in serving.listen(session):
            if isinstance(event, TokenWritten):
                tokens.append(event.pick.token)
                at.append(time.monotonic() - began)
                if kill and killed is None and self._may_be_hurt(session, len(tokens)):
                    self._kill(session)
                    killed = time.monotonic() - began
            elif isinstance(event, Ended):
                ending = event.ending
        told = report.of_session(session)
        return _Heard(
            tokens,
            at,
            ending is Ending.LENGTH and tokens == list(self._writer.right),
            _browsers(told),
            _pause(at, killed),
            [each["how"] for each in told["recoveries"]],
        )

    def _may_be_hurt(self, session: str, tokens: int) -> bool:
        """In the middle; where standbys are asked for, once all stages have them, or it is late."""
        if tokens < _TOKENS // 4:
            return False
        if not self._asked.standbys or tokens >= _FOLLOWED_WITHIN * _TOKENS:
            return True
        stages = report.of_session(session)["stages"]
        return all(any(each["follows"] for each in stage["standbys"]) for stage in stages)

    def _kill(self, session: str) -> None:
        (browser, *_) = [stage["browser"] for stage in report.of_session(session)["stages"]]
        inject(Targets(self._home).find(Target.BROWSER, browser), Fault.KILL)


def _browsers(told: Mapping[str, Any]) -> Sequence[str]:
    return [
        browser
        for stage in told["stages"]
        for browser in (stage["browser"], *(each["browser"] for each in stage["standbys"]))
        if browser
    ]


def _pause(at: Sequence[float], killed: float | None) -> float | None:
    """The longest time without a token after that."""
    if killed is None:
        return None
    gaps = [
        later - max(earlier, killed) for earlier, later in itertools.pairwise(at) if later > killed
    ]
    return max(gaps, default=None)
