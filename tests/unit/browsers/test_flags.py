"""Further flags for Chromium: read, joined with our own, told in the version."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from browsers.core.flags import VARIABLE, BadFlags, further, mark, with_features
from webpool_site.environment import env_flags


def test_they_are_split_as_a_shell_does() -> None:
    assert further('--js-flags="--one --two"  --x=y') == ["--js-flags=--one --two", "--x=y"]
    assert further("") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no-sandbox", "expected flags such as"),
        ("-x", "expected flags such as"),
        ("-- https://elsewhere.example", "expected flags such as"),
        ("--x --user-data-dir=/tmp/x", "--user-data-dir is webpool's own"),
        ("--remote-debugging-port=9222", "--remote-debugging-port is webpool's own"),
        ('--x="open', "cannot be split"),
    ],
)
def test_what_is_none_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    with pytest.raises(BadFlags, match=said):
        further(text)
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ImproperlyConfigured, match=f"{VARIABLE}: .*{said}"):
        env_flags(VARIABLE)


def test_features_are_added_to_ours_since_the_last_such_flag_wins() -> None:
    given = ["--enable-features=Theirs,Other", "--x"]
    assert with_features(given, "--enable-features", ["Ours"]) == [
        "--x",
        "--enable-features=Ours,Theirs,Other",
    ]
    assert with_features(["--x"], "--enable-features", []) == ["--x"]


def test_other_flags_are_another_build() -> None:
    assert mark([]) == ""
    one, other = mark(["--a", "--b"]), mark(["--a --b"])
    assert one.startswith(" flags ")
    assert one != other
    assert one == mark(["--a", "--b"])
