"""A backend that is late with the known answer is asked again, a few times, ever more rarely."""

from __future__ import annotations

from browsers.session.late import LateAnswers


def test_one_that_is_late_is_asked_again_ever_more_rarely_and_then_no_more() -> None:
    late, now, waited = LateAnswers(), 1000.0, []
    wait_s = late.note("webgpu", now)
    while wait_s is not None:
        assert late.due(now + wait_s - 0.1) is None
        now += wait_s
        assert late.due(now) == "webgpu"
        waited.append(wait_s)
        wait_s = late.note_again("webgpu", now)
    assert waited == [30.0, 120.0, 480.0]
    assert late.due(now + 1e6) is None
    assert late.note("webgpu", now) is None, "a repair does not bring it back"


def test_repairs_that_ask_all_backends_use_up_no_turn() -> None:
    """A rung of the ladder asks each backend twice."""
    late = LateAnswers()
    assert [late.note("webgpu", 1000.0 + at) for at in range(8)] == [30.0 - at for at in range(8)]
    assert late.due(1029.9) is None
    assert late.due(1030.0) == "webgpu"
    assert late.note("webgpu", 1050.0) == 0.0, "it is asked as soon as the browser is idle"
    assert late.note_again("webgpu", 1060.0) == 120.0


def test_an_answer_ends_it() -> None:
    late = LateAnswers()
    late.note("webgpu", 0.0)
    late.note("webnn", 1.0)
    assert late.due(100.0) == "webgpu"
    late.answered("webgpu")
    assert late.due(100.0) == "webnn"
    assert late.note("webgpu", 0.0) == 30.0
