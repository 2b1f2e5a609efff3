"""What `make bench` prints and which parts it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from browsers.core.breaker import Breaker, BreakerState
from browsers.core.breakers import Breakers
from history import recompute
from inference.core.generation.stages import Stage, State
from inference.core.placement import Hints
from inference.graph.model import load
from inference.graph.reference import reference
from inference.ledger import turns
from inference.scheduling import advice
from inference.store import outbox
from inference.store.tensors import encode_array
from inference.zoo.families import FAMILIES
from webpool_site.lab.bench import processor, stations
from webpool_site.lab.bench.parts import PARTS, UnknownPart, chosen
from webpool_site.lab.bench.stats import Table, row
from webpool_site.lab.bench.subjects import as_one
from webpool_site.lab.bench.switches import inside
from webpool_site.lab.bench.switches.points import Points, file_of, read
from webpool_site.lab.bench.switches.signals import BREAKERS, HISTORY, SIGNALS
from webpool_site.lab.bench.texts import caches


def test_every_part_is_a_module_with_a_measure() -> None:
    assert all(callable(part.measure()) for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_parts_are_chosen_by_name_and_an_unknown_one_is_refused() -> None:
    assert chosen("") == PARTS
    assert [part.name for part in chosen("throughput, overheads")] == ["overheads", "throughput"]
    with pytest.raises(UnknownPart, match="no part 'speed'; there are overheads"):
        chosen("speed")


def test_a_table_is_aligned_and_shows_what_is_unknown() -> None:
    table = Table("t", ("name", "ms"), (("a", 1.23456), ("longer", None), ("b", 1234.5)))
    assert table.text().splitlines() == [
        "t",
        "name      ms",
        "a       1.23",
        "longer     -",
        "b       1234",
    ]
    assert table.to_json()["lines"][1] == {"name": "longer", "ms": None}
    assert Table("none", ("name",), ()).text() == "none\nname"


def test_a_row_says_whether_its_goal_was_reached() -> None:
    assert row("x", [1.0, 2.0, 3.0], goal_ms=2.0).reached is True
    assert row("x", [1.0, 2.0, 3.0]).reached is None


def test_the_ways_between_stations_are_the_whole_request_and_each_comes_once() -> None:
    at = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) for ms in range(0, 90, 10)]
    steps = (
        stations.Step(at[1], at[2], at[4], page_ms=3.0, compute_ms=7.0),
        stations.Step(at[4], at[5], at[7], page_ms=1.0, compute_ms=4.0),
    )
    ways = stations.ways(stations.Request(at[0], at[8], steps))
    assert sum(ways.values()) == pytest.approx(80.0)
    assert ways["shard 0 answered", "shard 1 claimed", _HOP] == 10.0
    assert len(ways) == 10
    table = stations.table("t", [stations.Request(at[0], at[8], steps)])
    assert table.lines[-1] == ("asked", "told", "all of it", 80.0, 80.0)


_HOP = "result and next choice written, message sent, worker awake"


def test_what_is_new_at_each_checkpoint_is_the_whole_of_the_caches_together() -> None:
    states = tuple(
        State(f"past.{name}", f"present.{name}", "float32", (1, 2, 0, 3), 2)
        for name in ("key", "value")
    )
    arrays = {
        state.present: np.random.default_rng(0).random((1, 2, 10, 3), np.float32)
        for state in states
    }
    whole = [encode_array(name, array) for name, array in arrays.items()]
    made = list(caches.pieces(Stage((), states, (), ""), whole, 4))
    assert [[tensor.shape[2] for tensor in piece] for piece in made] == [[4, 4], [4, 4], [2, 2]]
    for state in states:
        again = caches.joined(state, [tensor for piece in made for tensor in piece])
        assert again == encode_array(state.past, arrays[state.present])


def test_processor_time_is_told_by_part_and_a_browser_apart_from_its_worker() -> None:
    # Some of it before they are looked at for the first time.
    burn = "import sys, time\nwhile time.process_time() < 1: pass"
    child = f"subprocess.Popen([sys.executable, '-c', {burn!r} + '\\nsys.stdin.read()'])"
    worker = f"import subprocess, sys\nsys.stdin.readline()\n{child}\nsys.stdin.read()"
    with (
        _process(f"{burn}\nprint('done', flush=True)\nsys.stdin.read()") as web,
        _process(worker) as browser,
    ):
        pids = {"web": web.pid, "browser.x": browser.pid}
        before = processor.look(pids)
        assert web.stdout is not None
        assert browser.stdin is not None
        browser.stdin.write("\n")  # what it starts from now on is not in the first look
        browser.stdin.flush()
        assert web.stdout.readline() == "done\n"
        until = time.monotonic() + 60
        while (taken := processor.spent(before, processor.look(pids))).get(
            "browser", 0.0
        ) < 0.4 and time.monotonic() < until:
            time.sleep(0.05)
    assert taken["web"] > 0.3
    assert taken["browser"] >= 0.4
    assert taken["worker"] < taken["browser"]
    assert "supervisor" in taken


def test_what_a_signal_takes_out_of_a_process_the_next_one_puts_back() -> None:
    opened = Breakers(browser=Breaker(state=BreakerState.OPEN, opened_at=0.0, cooldown_s=60.0))
    changed = (Breakers, advice, advice._Published, outbox, recompute)
    whole = [dict(vars(it)) for it in changed]
    before = {number: signal.getsignal(number) for number in SIGNALS.values()}
    inside.listen()
    try:
        for _ in range(2):
            assert opened.state(1.0) is BreakerState.OPEN
            os.kill(os.getpid(), SIGNALS[BREAKERS])
            assert opened.state(1.0) is BreakerState.CLOSED
            assert opened.spotless("0" * 64)
            os.kill(os.getpid(), SIGNALS[BREAKERS])
        os.kill(os.getpid(), SIGNALS[HISTORY])
        assert not recompute.is_due()
        assert advice._Published().hints("language_model", "m") == Hints()
        os.kill(os.getpid(), SIGNALS[HISTORY])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [dict(vars(it)) for it in changed] == whole


def test_time_between_points_is_that_of_the_inner_one_and_a_signal_writes_it_down() -> None:
    def burn(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    measured = Points()
    inner = measured._timed("inner", lambda: burn(0.05))

    def surrounding() -> None:
        burn(0.02)
        inner()

    measured._timed("outer", surrounding)()
    assert measured._ns["inner"] >= 0.05e9
    assert 0.02e9 <= measured._ns["outer"] < measured._ns["inner"]
    path = file_of(os.getpid())
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = dict(vars(turns))
    measured.turn()
    assert turns.claim_next is not whole["claim_next"]
    measured.turn()
    assert dict(vars(turns)) == whole
    assert read(os.getpid()) == {}  # of nothing but what came between the two
    path.unlink()


@contextlib.contextmanager
def _process(source: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that ends, with what it started, when its input closes."""
    argv = [sys.executable, "-c", source]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


@pytest.mark.parametrize("family", ["t5", "whisper"])
def test_encoder_and_decoder_as_one_graph_answer_as_one_after_the_other(
    family: str, tmp_path: Path
) -> None:
    encoder, decoder = FAMILIES[family].build(tmp_path, seed=3)
    inputs = FAMILIES[family].example_inputs(5)
    as_one([encoder, decoder], tmp_path / "whole.onnx")
    of = {
        part.role: {name: inputs[name] for name in _ports(part.path) if name in inputs}
        for part in (encoder, decoder)
    }
    hidden = reference(encoder.path, of["encoder"])
    taken = {port: hidden[source] for port, (_, source) in decoder.takes.items()}
    expected = reference(decoder.path, {**of["decoder"], **taken})
    got = reference(tmp_path / "whole.onnx", inputs)
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-6)


def _ports(path: Path) -> list[str]:
    return [port.name for port in load(path).graph.input]
