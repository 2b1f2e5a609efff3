"""Text over stages in real browsers: the tokens that native onnxruntime writes with the uncut decoder.

Browsers and workers are killed in the middle of it, and the text is the same.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator

import pytest
from django.conf import settings

from inference.core.generation.asked import Asked
from inference.core.generation.sampled import Sampling
from inference.core.generation.sessions import steps_of
from inference.zoo import decoder
from tests.support import decoders
from tests.support.doors import wait_for
from tests.support.faults import process_of
from tests.support.stack import RunningStack
from tests.support.texts import Refused, Texts, of_kind, tokens_of
from webpool_site.lab.faults.injection import Fault, inject

BROWSERS = ("chromium", "firefox", "webkitgtk")
PROMPT = [72, 101, 108, 108, 111, 44, 32]
COUNT, LONG = 24, 180
MODEL = "plain-writer"
"""`writer` is another file's, on the same pool: with a template for chats."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> decoders.Written:
    return decoders.write(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def greedy(files: decoders.Written) -> list[int]:
    return decoders.greedy(files.onnx, PROMPT, LONG)


@pytest.fixture(scope="module")
def pool(trio: RunningStack, files: decoders.Written) -> RunningStack:
    trio.manage("shell", "-v0", "-c", decoders.drawn(files.onnx, MODEL, files.tokenizer))
    return trio


@pytest.fixture(scope="module")
def texts(pool: RunningStack) -> Iterator[Texts]:
    made = Texts(pool, MODEL)
    yield made
    made.close()


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_text_is_that_of_the_uncut_decoder(
    texts: Texts, greedy: list[int], stages: int
) -> None:
    browsers = list(BROWSERS[:stages] if stages > 1 else BROWSERS[2:])
    session = texts.start(PROMPT, COUNT, shards=stages, browsers=browsers)
    told = list(texts.listen(session))
    assert tokens_of(told) == greedy[:COUNT]
    (ended,) = of_kind(told, "Ended")
    assert (ended["ending"], ended["tokens"], ended["prompt_tokens"]) == ("length", COUNT, 7)
    report = texts.report(session)
    assert (report["tokens"], report["ending"]) == (greedy[:COUNT], "length")
    assert [stage["browser"] for stage in report["stages"]] == browsers
    assert [stage["unproved"] for stage in report["stages"]] == [""] * stages
    again = list(texts.listen(session, after=COUNT - 3, thread=False))
    assert tokens_of(again) == greedy[COUNT - 3 : COUNT]


def test_two_texts_at_once_and_a_long_prompt_do_not_mix(
    texts: Texts, files: decoders.Written, greedy: list[int]
) -> None:
    long = [*PROMPT, *greedy[:80]]
    one = texts.start(PROMPT, COUNT, shards=2)
    other = texts.start(long, 8, shards=2)
    assert tokens_of(list(texts.listen(one))) == greedy[:COUNT]
    assert tokens_of(list(texts.listen(other))) == decoders.greedy(files.onnx, long, 8)
    assert len(steps_of(len(long), 0, most=settings.WEBPOOL_PROMPT_STEP)) == 1, (
        "as native onnxruntime was asked"
    )


@pytest.mark.parametrize(
    ("prompts", "count"),
    [(1, 16), pytest.param(20, 64, marks=pytest.mark.soak("one prompt is always tried"))],
)
def test_wherever_its_stages_are_a_text_is_that_of_the_uncut_decoder(
    texts: Texts, files: decoders.Written, prompts: int, count: int
) -> None:
    draw = random.Random(3)
    for number in range(prompts):
        prompt = [draw.randrange(256) for _ in range(draw.randint(2, 64))]
        order = [BROWSERS[(number + place) % 3] for place in range(3)]
        sessions = {
            (drawn, stages): texts.start(
                prompt, count, shards=stages, browsers=order[:stages], ignore_end=True,
                sampling=dataclasses.asdict(sampling),
            )
            for drawn, sampling in SAMPLINGS.items() for stages in (1, 2, 3)
        }  # fmt: skip
        for (drawn, stages), session in sessions.items():
            asked = Asked(tuple(prompt), count, SAMPLINGS[drawn], ignore_end=True)
            right = decoders.uncut(files.onnx, asked)
            told = tokens_of(list(texts.listen(session)))
            assert told == right, f"prompt {number}, {drawn}, {stages} stages"
            report = texts.report(session)
            assert {stage["browser"] for stage in report["stages"]} == set(order[:stages])


SAMPLINGS = {
    "greedy": Sampling(),
    "seeded": Sampling(temperature=0.9, top_k=20, seed=11),
}


def test_what_cannot_be_is_refused_before_anything_is_loaded(texts: Texts) -> None:
    for prompt, asked, status in (
        ([1] * 256, {}, 400),
        ([], {}, 400),
        ([512], {}, 400),
        (PROMPT, {"shards": 5}, 400),
        (PROMPT, {"backend": "webnn"}, 400),
        (PROMPT, {"browsers": ["opera"]}, 404),
    ):
        with pytest.raises(Refused) as refused:
            texts.start(prompt, 4, **asked)
        assert refused.value.status == status, refused.value


def test_a_stop_text_ends_it_and_so_does_a_full_context(texts: Texts, greedy: list[int]) -> None:
    at = next(index for index, token in enumerate(greedy) if token >= 258 and index > 3)
    stop = f"[{greedy[at]}]"
    first = greedy.index(greedy[at])
    told = list(texts.listen(texts.start(PROMPT, LONG, stop=[stop])))
    assert of_kind(told, "Ended")[0]["ending"] == "stop"
    assert tokens_of(told) == greedy[: first + 1]
    full = list(texts.listen(texts.start([1] * 250, LONG)))
    assert (of_kind(full, "Ended")[0]["ending"], len(tokens_of(full))) == ("length", 6)


def test_who_wants_it_no_more_cancels_it(pool: RunningStack, texts: Texts) -> None:
    other = Texts(pool, MODEL)
    other.report(texts.start(PROMPT, 1))  # it takes a while to begin
    session = texts.start(PROMPT, 200, shards=2)
    told = []
    for event in texts.listen(session):
        told.append(event)
        if len(told) == 3:
            other.cancel(session)
    other.close()
    (ended,) = of_kind(told, "Ended")
    assert (ended["ending"], ended["tokens"]) == ("cancelled", len(tokens_of(told)))
    assert texts.report(session)["ending"] == "cancelled"
    assert len(tokens_of(told)) < 200


def test_the_command_writes_text(pool: RunningStack, files: decoders.Written) -> None:
    prompt = decoders.tokenizer().encode("Hello, ").ids
    asked = ("generate", MODEL, "--prompt", "Hello, ", "--max-tokens", "5")
    said = pool.manage(*asked).stdout
    report = json.loads(pool.manage(*asked, "--json").stdout)
    assert report["tokens"] == decoders.greedy(files.onnx, prompt, 5)
    assert report["text"] == said.removesuffix("\n")


@pytest.fixture(scope="module")
def first_turn(pool: RunningStack, texts: Texts, greedy: list[int]) -> list[int]:
    """A prompt whose caches two browsers keep for ada."""
    prompt = [*PROMPT, *greedy[:60]]
    session = texts.start(prompt, 12, shards=2, browsers=list(BROWSERS[:2]), owner="ada")
    assert tokens_of(list(texts.listen(session))) == greedy[60:72]
    wait_for(lambda: texts.report(session)["kept"])
    return prompt


@pytest.mark.parametrize(
    ("same", "owner", "cached"),
    [(67, "ada", 67), (40, "ada", 40), (67, "bob", 0), (8, "ada", 0)],
)
def test_what_begins_like_a_kept_text_is_not_computed_again(
    texts: Texts, files: decoders.Written, greedy: list[int], first_turn: list[int],
    same: int, owner: str, cached: int,
) -> None:  # fmt: skip
    """The next turn of a chat, and one whose prompt was edited: the text is that of the uncut decoder."""
    prompt = [*first_turn[:same], *greedy[60:72], 5, 6, 7]
    session = texts.start(prompt, 12, owner=owner)
    told = list(texts.listen(session))
    assert tokens_of(told) == decoders.greedy(files.onnx, prompt, 12)
    report = texts.report(session)
    assert of_kind(told, "Ended")[0]["cached_tokens"] == report["cached_tokens"] == cached
    assert report["recoveries"] == []
    if cached:
        assert [stage["browser"] for stage in report["stages"]] == list(BROWSERS[:2])
    wait_for(lambda: texts.report(session)["kept"])


@pytest.mark.parametrize(
    ("hurt", "part", "fault", "stage", "why"),
    [
        ("firefox", "browser", Fault.KILL, 1, ""),
        ("chromium", "page", Fault.STOP, 0, "did not answer 'decode' within"),
        ("chromium", "worker", Fault.KILL, 0, ""),
    ],
)
def test_the_text_survives_who_writes_it(
    pool: RunningStack,
    texts: Texts,
    greedy: list[int],
    hurt: str,
    part: str,
    fault: Fault,
    stage: int,
    why: str,
) -> None:
    pool.wait_ready()
    victim = process_of(pool, hurt, part)
    session = texts.start(PROMPT, LONG, shards=3, browsers=list(BROWSERS))
    # Its steps are known by then (core/generation/step_times.py), so that one that hangs is noticed by them.
    wait_for(lambda: len(texts.report(session)["tokens"]) >= 40)
    inject(victim, fault)
    told = list(texts.listen(session))
    assert tokens_of(told) == greedy
    (paused,) = of_kind(told, "Paused")
    (resumed,) = of_kind(told, "Resumed")
    assert paused["stage"] == resumed["stage"] == stage
    assert (resumed["how"], resumed["seconds"] > 0) == ("replay", True)
    report = texts.report(session)
    (recovery,) = report["recoveries"]
    assert (recovery["stage"], recovery["lost_by"]) == (stage, hurt)
    assert why in recovery["why"]
    assert recovery["numbers"] == "the same"
    assert report["speculation"]["drafted"] > report["speculation"]["right"] > 0


def test_a_standby_goes_on_at_once_where_a_browser_is_killed(
    pool: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each of two stages is followed; the lost one goes on where it was, and is followed again."""
    file = decoder.tiny(context=2048).save(tmp_path_factory.mktemp("long") / "model.onnx")
    pool.manage("shell", "-v0", "-c", decoders.drawn(file, "long-writer"))
    pool.wait_ready()
    texts = Texts(pool, "long-writer")
    session = texts.start(PROMPT, 1000, shards=2, standbys=1, ignore_end=True)

    def followed() -> bool:
        stages = texts.report(session)["stages"]
        return all(any(each["follows"] for each in stage["standbys"]) for stage in stages)

    wait_for(followed)
    before = texts.report(session)["stages"][1]
    process_of(pool, before["browser"], "browser").kill()
    told = list(texts.listen(session))
    assert tokens_of(told) == decoders.greedy(file, PROMPT, 1000)
    resumed = {each["stage"]: each for each in of_kind(told, "Resumed")}
    assert (resumed[1]["how"], resumed[1]["browser"]) == (
        "standby",
        before["standbys"][0]["browser"],
    )
    assert texts.report(session)["stages"][1]["browser"] == resumed[1]["browser"]
    texts.close()


def test_texts_that_are_computed_together_survive_too(
    pool: RunningStack, texts: Texts, files: decoders.Written
) -> None:
    """Each goes on by itself, and then together again; prompts of other lengths, with drafts and without."""
    pool.wait_ready()
    victim = process_of(pool, "firefox", "browser")
    prompts = [[*PROMPT, *range(9 * text)] for text in range(6)]
    sessions = [
        texts.start(prompt, 90, speculation=text % 2 == 0, shards=2, browsers=list(BROWSERS[:2]))
        for text, prompt in enumerate(prompts)
    ]
    wait_for(lambda: all(len(texts.report(session)["tokens"]) >= 12 for session in sessions))
    victim.kill()
    for prompt, session in zip(prompts, sessions, strict=True):
        assert tokens_of(list(texts.listen(session))) == decoders.greedy(files.onnx, prompt, 90)
        (recovery,) = texts.report(session)["recoveries"]
        assert (recovery["lost_by"], recovery["numbers"]) == ("firefox", "the same")


def test_a_text_that_began_with_kept_caches_survives_too(
    pool: RunningStack, texts: Texts, files: decoders.Written, greedy: list[int]
) -> None:
    pool.wait_ready()
    first = [*PROMPT, *greedy[:60]]
    before = texts.start(first, 2, shards=2, owner="eve")
    assert tokens_of(list(texts.listen(before))) == greedy[60:62]
    wait_for(lambda: texts.report(before)["kept"])
    victim = process_of(pool, texts.report(before)["stages"][1]["browser"], "worker")
    prompt = [*first, 9, 8, 7]
    session = texts.start(prompt, LONG, owner="eve")
    assert texts.report(session)["cached_tokens"] == len(first)
    wait_for(lambda: len(texts.report(session)["tokens"]) >= 12)
    victim.kill()
    told = list(texts.listen(session))
    assert tokens_of(told) == decoders.greedy(files.onnx, prompt, LONG)
    report = texts.report(session)
    assert {recovery["how"] for recovery in report["recoveries"]} == {"recompute"}
    assert of_kind(told, "Ended")[0]["cached_tokens"] == report["cached_tokens"] == 0
