"""The ladder, climbed by machines: it goes up, skips only what the errors rule out, and ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from browsers.core.failures import Rung
from browsers.core.repair import LADDER, next_rung

_HINTS = st.one_of(st.none(), st.sampled_from(list(Rung)))


@given(first=_HINTS, hints=st.lists(_HINTS, min_size=len(LADDER), max_size=len(LADDER)))
def test_it_goes_up_and_ends(first: Rung | None, hints: list[Rung | None]) -> None:
    climbed: list[Rung] = []
    hint, rung = first, next_rung(None, first)
    while rung is not None:
        if climbed:
            assert LADDER.index(rung) > LADDER.index(climbed[-1])
        if hint in LADDER:
            assert LADDER.index(rung) >= LADDER.index(hint), "it would not help"
        else:
            expected = LADDER.index(climbed[-1]) + 1 if climbed else 0
            assert LADDER.index(rung) == expected, "nothing speaks against it"
        hint = hints[len(climbed)]
        climbed.append(rung)
        rung = next_rung(rung, hint)
    assert climbed[-1] == LADDER[-1], "the last rung is tried before it is given up"


def test_a_browser_whose_process_ended_is_not_asked_gently() -> None:
    assert next_rung(None, Rung.PING) == Rung.PING
    assert next_rung(Rung.PING, Rung.RESTART) == Rung.RESTART
    assert next_rung(Rung.RESTART, Rung.RESTART) is None
