"""Which kept caches a session begins with: its owner's, of its model, in browsers that still have them.

No browser computes here: the tests say what a worker says.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from browsers.bridge import StepRefused
from browsers.core.failures import Category
from browsers.redis import client
from browsers.worker import BrowserWorker
from inference.core.generation.asked import Asked, Ended, Ending
from inference.core.generation.sessions import Place
from inference.generation import endings, frames, prefixes, recovery, report, serving, streams
from inference.generation.opening import _held
from inference.generation.takeover.outcomes import Lost
from inference.models import GenerationSession, GenerationStage, OnnxModel
from tests.support.ledger import publish

PROMPT = tuple(range(40))
NEXT = (*PROMPT, 7, 7, 7)
pytestmark = pytest.mark.usefixtures("clean")


def begin(model: OnnxModel, prompt: tuple[int, ...], owner: str, **asked: Any) -> GenerationSession:
    session = serving.start(model, Asked(prompt, 10, **asked), owner)
    return GenerationSession.objects.get(pk=session)


@pytest.fixture
def kept(writer: OnnxModel) -> GenerationSession:
    """A session of two stages that has ended; browsers b and c keep its caches."""
    session = begin(writer, PROMPT, "ada", shards=2, browsers=("b", "c"))
    assert endings.end(session, Ending.LENGTH)
    for stage, browser in enumerate(("b", "c")):
        prefixes.put(prefixes.shelf_of(writer, "ada"), str(session.pk), stage, browser, "test")
    return session


def browsers(session: GenerationSession) -> list[str]:
    return [row.browser for row in session.stages.all()]


def first_step(session: GenerationSession) -> tuple[int, int]:
    """(start, count) of the first one that the log has."""
    found: Any = client().xrange(streams.in_key(str(session.pk), 0), count=1)
    framed = frames.read_frame(found[0][1][streams.FRAME])
    return framed.start, framed.count


def test_the_next_turn_begins_where_its_caches_are(
    writer: OnnxModel, kept: GenerationSession
) -> None:
    session = begin(writer, NEXT, "ada")
    assert (session.reused, session.kept_from) == (len(PROMPT), kept.pk)
    assert (browsers(session), first_step(session)) == (["b", "c"], (40, 3))
    told = report.of_session(str(session.pk))
    assert (told["cached_tokens"], told["prompt_tokens"]) == (40, 43)
    assert report.of_session(str(kept.pk))["kept"]


def test_the_longest_beginning_is_taken(writer: OnnxModel, kept: GenerationSession) -> None:
    longer = begin(writer, NEXT, "ada")
    for stage, browser in enumerate(("b", "c")):
        prefixes.put(prefixes.shelf_of(writer, "ada"), str(longer.pk), stage, browser, "test")
    assert begin(writer, (*NEXT, 1, 2), "ada").kept_from == longer.pk
    assert begin(writer, (*PROMPT[:30], 99, 98), "ada").reused == 30


def test_nobody_elses_caches_are_taken(writer: OnnxModel, kept: GenerationSession) -> None:
    for owner in ("bob", ""):
        session = begin(writer, NEXT, owner)
        assert (session.reused, first_step(session)) == (0, (0, 43))


@pytest.mark.parametrize(
    "asked", [{"shards": 1}, {"browsers": ("a", "b")}, {"browsers": ("a",), "shards": 1}]
)
def test_what_a_caller_wishes_comes_first(
    writer: OnnxModel, kept: GenerationSession, asked: dict[str, Any]
) -> None:
    assert begin(writer, NEXT, "ada", **asked).reused == 0


def test_caches_that_went_with_their_worker_are_not_taken(
    writer: OnnxModel, kept: GenerationSession
) -> None:
    shelf = prefixes.shelf_of(writer, "ada")
    publish("c", memory_limit_mb=4000.0, worker="another")
    assert begin(writer, NEXT, "ada").reused == 0
    assert client().hkeys(shelf) == [f"{kept.pk}:0".encode()], "the other is listed no more"
    publish("c", memory_limit_mb=4000.0)
    assert begin(writer, NEXT, "ada").reused == 0
    assert not report.of_session(str(kept.pk))["kept"]


def test_a_stage_that_is_lost_costs_the_whole_prompt(
    writer: OnnxModel, kept: GenerationSession
) -> None:
    """What came before its log was in the cache alone."""
    session = begin(writer, NEXT, "ada")
    assert recovery.give(str(session.pk), 1, 1, Category.BROWSER_CRASH, "it died")
    session.refresh_from_db()
    assert (session.reused, session.kept_from, first_step(session)) == (0, None, (0, 43))
    assert [row.epoch for row in session.stages.all()] == [2, 2]
    assert {recovery.how for recovery in session.recoveries.all()} == {"recompute"}
    assert browsers(session) == ["b", "a"], "not where it was lost"


def test_a_kept_cache_that_was_given_up_is_no_fault_of_its_browser(
    writer: OnnxModel, kept: GenerationSession
) -> None:
    session = begin(writer, NEXT, "ada")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    held = _held(rows.get(session=session, index=0))
    found: Any = client().xrange(held.key, count=1)
    held.came(found[0][0].decode(), found[0][1][streams.FRAME])
    assert held.ask(Place(1, len(PROMPT), 0)).step["kept"] == f"{kept.pk}:0"
    with pytest.raises(Lost) as here:
        held.ask(None)
    with pytest.raises(Lost) as in_the_page:
        held.given(cast("BrowserWorker", SimpleNamespace(id="b")), StepRefused("no_cache", "gone"))
    for lost in (here, in_the_page):
        assert lost.value.category is Category.TENSOR_LOST
    assert recovery.give(str(session.pk), 0, 1, Category.TENSOR_LOST, "gone")
    session.refresh_from_db()
    assert (session.reused, browsers(session)) == (0, ["b", "c"])


def test_stages_keep_the_caches_of_a_text_that_was_written_alone(writer: OnnxModel) -> None:
    for ending, said in ((Ending.STOP, streams.KEEP), (Ending.CANCELLED, b"")):
        session = begin(writer, PROMPT, "ada", shards=2)
        assert streams.end(str(session.pk), 2, Ended(ending, len(PROMPT), 0))
        for stage in range(2):
            found: Any = client().xrevrange(streams.in_key(str(session.pk), stage), count=1)
            assert found[0][1] == {streams.END: said}
