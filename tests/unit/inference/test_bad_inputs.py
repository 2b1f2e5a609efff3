"""Whom a failed computation counts against: caller or file, where onnxruntime or a second browser agrees."""

from __future__ import annotations

import pytest

from browsers.core.errors import Judged
from browsers.core.failures import Blame, Category, Retry
from inference.core.bad_inputs import Native, Said, judged, suspect

SAID = "Non-zero status code returned while running TopK node"
REFUSALS = [Category.INTERNAL, Category.INVALID_INPUT]
WORDED = [Category.MODEL_INCOMPATIBLE, Category.INVALID_INPUT]
TOLD = [
    *(Category.INTERNAL, Category.UNSUPPORTED_OPERATION, Category.OUT_OF_MEMORY, Category.REFUSED),
    *WORDED,
]
DEAD = [Category.BROWSER_CRASH, Category.CONNECTION]


def said(browser: str = "b", category: Category = Category.INTERNAL, message: str = SAID) -> Said:
    return Said(browser, category, message)


def callers(failed: Said, earlier: list[Said], native: Native, reason: str) -> str:
    """What the caller is told of inputs that no browser can compute; empty: the work goes on elsewhere."""
    told = judged(failed, earlier, native, reason)
    if not told.everywhere:
        assert told.message == failed.message
        return ""
    assert told.category is Category.INVALID_INPUT
    return told.message


@pytest.mark.parametrize("category", TOLD)
def test_what_a_runtime_told_is_asked_about_at_once(category: Category) -> None:
    assert suspect(said(category=category), [])


@pytest.mark.parametrize("category", DEAD)
def test_a_death_may_be_chance_and_a_second_one_is_asked_about(category: Category) -> None:
    assert not suspect(said(category=category), [])
    assert not suspect(said(category=category), [said("a")])
    assert suspect(said(category=category), [said("a", Category.BROWSER_CRASH)])


def test_a_second_browser_that_came_to_no_end_is_asked_about() -> None:
    late = said(category=Category.TIMEOUT)
    assert not suspect(late, [])
    assert not suspect(late, [said("b", Category.TIMEOUT)]), "the same browser once more"
    assert not suspect(late, [said("a", Category.BROWSER_CRASH)])
    assert suspect(late, [said("a", Category.TIMEOUT)])


@pytest.mark.parametrize(
    ("native", "theirs"), [(Native.TAKES, False), (Native.UNKNOWN, False), (Native.ENDLESS, True)]
)
def test_inputs_with_which_nobody_comes_to_an_end_are_the_callers(
    native: Native, theirs: bool
) -> None:
    late, earlier = said(category=Category.TIMEOUT), [said("a", Category.TIMEOUT)]
    told = callers(late, earlier, native, "it took longer than 30 s")
    assert bool(told) is theirs
    assert not theirs or "a was stopped, b, too, and onnxruntime itself: it took longer" in told


@pytest.mark.parametrize("category", sorted(set(Category) - {*TOLD, *DEAD}))
def test_of_other_failures_inputs_are_not_the_reason(category: Category) -> None:
    assert not suspect(said(category=category), [said("a", Category.BROWSER_CRASH)])


@pytest.mark.parametrize("category", [*TOLD, *DEAD])
def test_what_native_onnxruntime_refuses_is_the_callers(category: Category) -> None:
    told = callers(said(category=category), [], Native.REFUSES, "k is larger than the axis")
    assert "k is larger than the axis" in told


@pytest.mark.parametrize("category", REFUSALS)
@pytest.mark.parametrize(
    "earlier", [[], [said("b")], [said("a", message="other")], [said("a", Category.TIMEOUT)]]
)
def test_what_it_takes_and_one_browser_refuses_is_asked_of_another_and_blames_nobody_yet(
    category: Category, earlier: list[Said]
) -> None:
    told = judged(said(category=category), earlier, Native.TAKES, "")
    assert told == Judged(Category.REFUSED, SAID)
    assert (told.category.blame, told.category.retry) == (Blame.NOBODY, Retry.HERE)


@pytest.mark.parametrize("category", REFUSALS)
def test_what_it_takes_and_two_browsers_refuse_in_the_same_words_is_more_than_browsers_can(
    category: Category,
) -> None:
    earlier = [said("b", Category.REFUSED), said("a", Category.REFUSED)]
    told = judged(said(category=category), earlier, Native.TAKES, "")
    assert (told.category, told.everywhere) == (Category.REFUSED, True)
    assert "onnxruntime itself takes these inputs" in told.message
    assert f"as a and b both say: {SAID}" in told.message


def test_words_are_a_kernels_whichever_bundle_tells_them() -> None:
    plain = "failed to call OrtRun(). ERROR_CODE: 2, ERROR_MESSAGE: …/op_kernel.cc:83 too large"
    framed = (
        "failed to call OrtRun(). ERROR_CODE: 2, ERROR_MESSAGE: Non-zero status code returned while running "
        "Expand node. Name:'' Status Message: …/op_kernel.cc:83 too large\n"
    )
    for words in ((plain, framed), (framed, plain)):
        failed, earlier = said(message=words[0]), [said("a", Category.REFUSED, words[1])]
        assert judged(failed, earlier, Native.TAKES, "").everywhere
    assert not judged(
        said(message=plain), [said("a", message="too large")], Native.TAKES, ""
    ).everywhere


@pytest.mark.parametrize(
    "category",
    [Category.UNSUPPORTED_OPERATION, Category.OUT_OF_MEMORY, Category.MODEL_INCOMPATIBLE],
)
def test_what_a_third_browser_may_have_is_asked_of_it(category: Category) -> None:
    earlier = [said("a", category)]
    told = judged(said(category=category), earlier, Native.TAKES, "")
    assert told == Judged(category, SAID)


@pytest.mark.parametrize(
    ("earlier", "both"),
    [
        ([], False),
        ([said("b")], False),  # the same browser once more
        ([said("a", message="device busy")], False),
        ([said("a", Category.TIMEOUT)], False),
        ([said("a")], True),
        ([said("c", message="other"), said("a")], True),
    ],
)
def test_where_it_cannot_be_asked_two_browsers_must_say_the_same(
    earlier: list[Said], both: bool
) -> None:
    told = callers(said(), earlier, Native.UNKNOWN, "")
    assert bool(told) is both
    assert not both or ("a and b" in told and SAID in told)


def test_two_deaths_alone_say_nothing_of_the_inputs() -> None:
    dead = said(category=Category.BROWSER_CRASH, message="gone")
    assert callers(dead, [said("a", Category.BROWSER_CRASH, "gone")], Native.UNKNOWN, "") == ""


@pytest.mark.parametrize("category", TOLD)
def test_what_one_browser_calls_a_bad_file_or_input_is_computed_elsewhere(
    category: Category,
) -> None:
    for native in (Native.TAKES, Native.UNKNOWN, Native.ENDLESS):
        told = judged(said(category=category), [], native, "")
        assert (told.message, told.everywhere) == (SAID, False)
        assert told.category.retry is not Retry.NEVER


def test_a_file_that_native_onnxruntime_does_not_load_is_no_model_anywhere() -> None:
    why = "onnxruntime refuses it: Protobuf parsing failed"
    for category in (*TOLD, *DEAD):
        told = judged(said(category=category), [], Native.NO_MODEL, why)
        assert told == Judged(Category.MODEL_INCOMPATIBLE, why, everywhere=True)


def test_a_file_that_two_browsers_refuse_in_the_same_words_is_no_model_where_nobody_else_can_be_asked() -> (
    None
):
    refused = said(category=Category.MODEL_INCOMPATIBLE, message="invalid graph")
    earlier = [said("a", Category.MODEL_INCOMPATIBLE, "invalid graph")]
    told = judged(refused, earlier, Native.UNKNOWN, "")
    assert (told.category, told.everywhere) == (Category.MODEL_INCOMPATIBLE, True)
    assert "a and b both say: invalid graph" in told.message
    assert not judged(refused, earlier, Native.TAKES, "").everywhere
