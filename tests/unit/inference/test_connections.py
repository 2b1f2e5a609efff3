"""A bound on the number of browsers that a script uses."""

from __future__ import annotations

import pytest

from browsers.state.live import LiveBrowser
from inference.client.connections import Connections
from inference.errors import InvalidRequest


def pool(*ids: str) -> dict[str, LiveBrowser]:
    return {
        name: LiveBrowser(
            id=name, kind=name.split("-")[0], family=name.split("-")[0], version="1", zone="local",
            state="ready", worker="w", heartbeat=0.0,
        )
        for name in ids
    }  # fmt: skip


def test_without_a_limit_wishes_pass_and_nothing_is_counted() -> None:
    connections = Connections(None)
    assert connections.allowed(("firefox",), lambda: pool("chromium")) == ("firefox",)
    assert connections.used == ()


def test_at_most_so_many_browsers_are_used() -> None:
    connections = Connections(2)
    living = pool("chromium", "firefox", "webkitgtk")
    assert connections.allowed((), lambda: living) == ("chromium-1", "firefox-1")
    assert connections.allowed(("firefox",), lambda: living) == ("firefox-1",)
    with pytest.raises(InvalidRequest, match="chromium, firefox are in use"):
        connections.allowed(("webkitgtk",), lambda: living)


def test_a_browser_is_taken_when_it_is_asked_for() -> None:
    connections = Connections(2)
    living = pool("chromium", "firefox", "webkitgtk")
    assert connections.allowed(("webkitgtk",), lambda: living) == ("webkitgtk-1",)
    assert set(connections.allowed((), lambda: living)) == {"chromium-1", "webkitgtk-1"}


def test_a_family_gives_as_many_of_its_browsers_as_there_is_room_for() -> None:
    connections = Connections(2)
    living = pool("firefox", "firefox-2", "firefox-3")
    assert connections.allowed(("firefox",), lambda: living) == ("firefox-1", "firefox-2")


def test_a_browser_that_died_leaves_its_place() -> None:
    connections = Connections(1)
    assert connections.allowed((), lambda: pool("chromium", "firefox")) == ("chromium-1",)
    assert connections.allowed((), lambda: pool("firefox")) == ("firefox-1",)
    assert connections.used == ("firefox",)


def test_a_name_that_nobody_has_is_left_to_be_refused_where_runs_are_made() -> None:
    assert Connections(1).allowed(("lynx",), lambda: pool("firefox")) == ("lynx",)


def test_fewer_than_one_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least 1 browser, got 0"):
        Connections(0)
