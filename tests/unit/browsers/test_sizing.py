"""The size of a pool follows its utilisation, within every limit, whatever happens."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from browsers.core.sizing import Grow, Limits, Member, Sample, Shrink, State, Stay, decide

LIMITS = Limits()


def sample(at_s: float, busy: float | None, members: list[Member], **changes: object) -> Sample:
    fields: dict[str, object] = {
        "kinds": ("chromium", "firefox"), "kept": frozenset({"chromium"}), "unsettled": False,
        "memory_used_mb": 1000.0, "memory_total_mb": 10_000.0, **changes,
    }  # fmt: skip
    return Sample(at_s=at_s, busy=busy, members=members, **fields)  # type: ignore[arg-type]


def one(kind: str = "chromium", number: int = 1, **fields: float) -> Member:
    return Member(f"{kind}-{number}", kind, int(fields.get("waiting", 0)), fields.get("memory_mb"))


@pytest.mark.parametrize(
    ("busy", "expected"), [(0.71, Grow), (0.7, Stay), (0.5, Stay), (0.3, Stay), (0.29, Shrink)]
)
def test_the_bounds_of_the_specification(busy: float, expected: type) -> None:
    members = [one(), one("firefox")]
    _, decision = decide(State(), sample(0, busy, members), LIMITS)
    assert isinstance(decision, expected)


def test_the_average_moves_by_a_fifth() -> None:
    state, _ = decide(State(average=0.0), sample(0, 1.0, [one()]), LIMITS)
    assert state.average == pytest.approx(0.2)
    for second in range(1, 6):
        state, decision = decide(state, sample(second, 1.0, [one()]), LIMITS)
    assert state.average == pytest.approx(1 - 0.8**6)
    assert isinstance(decision, Grow)


def test_the_kind_that_most_waits_for_grows_else_the_rarest() -> None:
    pinned = [one(waiting=1), one("firefox", waiting=5)]
    _, decision = decide(State(), sample(0, 1.0, pinned), LIMITS)
    assert decision == Grow("firefox", "utilisation 1.00 above 0.7")
    _, decision = decide(State(), sample(0, 1.0, [one(), one(number=2), one("firefox")]), LIMITS)
    assert isinstance(decision, Grow)
    assert decision.kind == "firefox"


def test_memory_that_another_browser_would_need_is_counted() -> None:
    members = [one(memory_mb=900)]
    _, decision = decide(
        State(), sample(0, 1.0, members, kinds=("chromium",), memory_used_mb=7200), LIMITS
    )
    assert isinstance(decision, Stay)
    assert "8100 MB of memory in use, more than 80% of 10000 MB" in decision.reason


def test_one_of_each_listed_kind_stays() -> None:
    members = [one(), one("firefox")]
    kept = frozenset({"chromium", "firefox"})
    _, decision = decide(State(), sample(0, 0.0, members, kept=kept), LIMITS)
    assert isinstance(decision, Stay)
    _, decision = decide(State(), sample(0, 0.0, [*members, one(number=2)], kept=kept), LIMITS)
    assert decision == Shrink("chromium-2", "utilisation 0.00 below 0.3")


class Pool(RuleBasedStateMachine):
    """Any utilisation, memory, death and time: the pool stays within its limits."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.state, self.next = 0.0, State(), 2
        self.members = [one()]
        self.changes: list[float] = []
        self.unsettled = False

    @rule(
        busy=st.none() | st.floats(0, 1),
        used_mb=st.floats(0, 10_000),
        passes_s=st.floats(0.1, 40),
    )
    def look(self, busy: float | None, used_mb: float, passes_s: float) -> None:
        self.now += passes_s
        before = len(self.members)
        seen = sample(
            self.now, busy, self.members, memory_used_mb=used_mb, unsettled=self.unsettled
        )
        self.state, decision = decide(self.state, seen, LIMITS)
        if isinstance(decision, Stay):
            return
        assert not self.unsettled
        assert busy is not None
        assert not self.changes or self.now - self.changes[-1] >= LIMITS.cooldown_s
        self.changes.append(self.now)
        average = self.state.average
        assert average is not None
        if isinstance(decision, Grow):
            assert used_mb <= 8000
            assert before < LIMITS.least or average > LIMITS.grow_above
            self.members.append(one(decision.kind, self.next))
            self.next += 1
        else:
            assert average < LIMITS.shrink_below
            self.members = [m for m in self.members if m.id != decision.browser]
            assert len(self.members) == before - 1
            assert any(m.kind == "chromium" for m in self.members)

    @rule(unsettled=st.booleans())
    def change(self, unsettled: bool) -> None:
        self.unsettled = unsettled

    @invariant()
    def within_limits(self) -> None:
        assert LIMITS.least <= len(self.members) <= LIMITS.most
        average = self.state.average
        assert average is None or 0 <= average <= 1


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40)
