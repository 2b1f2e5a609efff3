"""Drafted positions change no bit, in any family of browsers, and all families give the same ones."""

from __future__ import annotations

import random
from pathlib import Path

from inference.core.generation.sessions import Step
from inference.store.tensors import decode_array
from tests.browser.bench import started
from tests.browser.player import TEXT, VOCABULARY, Player, steps

FAMILIES = ("chromium", "firefox", "webkitgtk")


def test_drafted_positions_change_no_bit(tmp_path: Path) -> None:
    bits = {}
    for kind in FAMILIES:
        folder = tmp_path / kind
        folder.mkdir()
        with started(kind, folder, memory_limit_mb=3500, backends={"wasm"}) as bench:
            player = Player(bench, folder, seed=5)
            player.hold()
            alone = [player.ask("one", Step(1, *step))[1][1].data for step in steps()]
            assert_drafts_give(player, alone)
            bits[kind] = b"".join(alone)
    assert len(set(bits.values())) == 1, "families differ"


def assert_drafts_give(player: Player, alone: list[bytes]) -> None:
    """Right or wrong, many or few: a position's logits are those of a step of its own."""
    text, numbers = player.texts["one"], random.Random(7)
    player.ask("one", Step(2, *steps()[0]))
    start, counts = 8, set()
    while start < TEXT:
        drafted = min(numbers.randint(0, 8), TEXT - start - 1)
        right = numbers.randint(0, drafted)
        wrong = [(token + 1) % VOCABULARY for token in text[start + 1 + right :][: drafted - right]]
        player.texts["one"] = [*text[: start + 1 + right], *wrong]
        _, tensors = player.ask("one", Step(2, start, 1 + drafted, drafted))
        player.texts["one"] = text
        rows = decode_array(tensors[1])
        assert rows.shape == (1 + drafted, VOCABULARY)
        for at, row in enumerate(rows[: right + 1]):
            assert row.tobytes() == alone[start + at - 7], f"position {start + at}"
        counts.add((drafted > 0, right == drafted))
        start += 1 + right
    assert counts >= {(True, True), (True, False)}, "some were wrong, some all right"
