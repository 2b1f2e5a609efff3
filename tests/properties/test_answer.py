"""An answer's text and tokens: told piece by piece, the same as decided at the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.sampled import Pick
from inference.core.generation.wording.answer import Answer
from inference.core.generation.wording.vocabulary import Vocabulary

_TOKENS = [b"a", b"b", b"ab", b"\xe2", b"\x82\xac", "a€".encode(), b"", b"<s>"]
_SPECIAL, _LAST = 7, 8


@given(
    st.lists(st.integers(0, _LAST), max_size=12),
    st.lists(st.text("ab€", min_size=1, max_size=3), max_size=2),
)
def test_pieces_make_the_text_before_the_stop_text_and_exactly_its_tokens(
    tokens: list[int], stops: list[str]
) -> None:
    answer = Answer(Vocabulary.of([*_TOKENS, b""], {_SPECIAL}), stops, {_LAST})
    pieces = [answer.add(Pick(token, 0.0)) for token in tokens]
    pieces.append(answer.end())
    told = [one for piece in pieces for one in piece.tokens]
    text = "".join(piece.text for piece in pieces)

    written = [token for token in tokens if token != _LAST]
    raw = b"".join(_TOKENS[token] for token in written if token != _SPECIAL)
    whole = raw.decode(errors="replace")
    ends = [whole.find(stop) for stop in stops if stop in whole]
    assert answer.stopped == bool(ends)
    assert whole.startswith(text)
    if not ends:
        assert text == whole
        assert [one.pick.token for one in told] == written
    else:
        assert not any(stop in text for stop in stops)
        assert any(whole[len(text) :].startswith(stop) for stop in stops)
        assert [one.pick.token for one in told] == written[: len(told)]
        assert all(one.offset <= len(text) for one in told)
