"""What the pool's processes take of the processor: at rest, and for each request.

Wall times depend on who else uses the machine, processor time hardly does. How fast the machine is, is told
beside it: by how long an empty loop takes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from django.db.models import Max

from browsers.processes.trees import tree
from history import recompute
from inference.models import Attempt
from inference.store import outbox
from webpool_site.lab.bench.stats import Table

if TYPE_CHECKING:
    from webpool_site.lab.bench.parts import Line, Pool

TURNS = 3_000_000
REST_S, ALONE_S = 20.0, 60.0
_SETTLES_S = (
    3.0  # what a request leaves behind is done by then, but for history, which rests after work
)
_PATIENCE_S, _LOOK_EVERY_S = 60.0, 0.2
_BROWSER, ALL = "browser.", "the pool"
SAMPLE = "minilm"
# Half of what each took for a request of the sample model, where that loop took so long.
_GOALS_AT_S = 0.47
_GOALS_MS = {"web": 9.5, "worker": 6.75, "control": 1.4, "history": 2.75, "valkey": 0.75}
_GOAL_AT_REST = 12.5
_SMALLEST = {"metadata": "/v2/models/{model}", "health": "/v2/health/live"}
_GOALS_OF_SMALLEST_MS = {"metadata": 1.45, "health": 0.25}
_MANY = 10  # times as many of them, for processor time is counted in hundredths of a second

Times = dict[tuple[str, int, float], float]
Bodies = Mapping[str, Mapping[str, Any]]


def loop_s() -> float:
    """Processor time of three million turns of an empty loop in Python, in s."""
    began = time.process_time()
    turn = 0
    while turn < TURNS:
        turn += 1
    return time.process_time() - began


def look(pids: Mapping[str, int]) -> Times:
    """Processor time so far of each process of the pool, in s, by its part, id and start.

    `pids`: by name, the supervisor's children. A browser's worker and what it started are two parts.
    """
    return _read(pids, _seconds)


def look_at_wakes(pids: Mapping[str, int]) -> Times:
    """Likewise how often threads of each process have waited for something and were woken; Linux only."""
    return _read(pids, _wakes)


def _read(pids: Mapping[str, int], read: Callable[[psutil.Process], float]) -> Times:
    found: Times = {}
    for part, process in _processes(pids):
        with contextlib.suppress(psutil.Error, OSError):
            found[part, process.pid, process.create_time()] = read(process)
    return found


def _processes(pids: Mapping[str, int]) -> Iterator[tuple[str, psutil.Process]]:
    for name, pid in {**pids, "supervisor": os.getpid()}.items():
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            if name == "supervisor":
                yield name, root
            elif not name.startswith(_BROWSER):
                yield from ((name, process) for process in [root, *root.children(recursive=True)])
            else:
                for process in tree(root):
                    yield "worker" if process.pid == pid else "browser", process


def _seconds(process: psutil.Process) -> float:
    taken = process.cpu_times()
    return taken.user + taken.system


def _wakes(process: psutil.Process) -> float:
    texts = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/status")]
    return sum(int(_WAKES.findall(text)[0]) for text in texts)


_WAKES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)


def spent(before: Times, after: Times) -> dict[str, float]:
    """What each part took between two looks, in s, the greatest first; who ended meanwhile is left out."""
    parts: dict[str, float] = {}
    for key, seconds in after.items():
        parts[key[0]] = parts.get(key[0], 0.0) + seconds - before.get(key, 0.0)
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


def at_rest(pids: Mapping[str, int], seconds: float = REST_S) -> dict[str, float]:
    """What each part takes while nobody asks for anything, in percent of a core."""
    before, began = look(pids), time.monotonic()
    time.sleep(seconds)
    parts, passed = spent(before, look(pids)), time.monotonic() - began
    return {part: 100 * taken / passed for part, taken in parts.items()}


def measure(pool: Pool | None) -> Iterator[Line]:
    """At rest, by process: what the bench's other tables subtract, and how often somebody is woken."""
    assert pool is not None, "it measures the running pool"
    until_history_rests()
    psutil.cpu_times_percent()  # since when
    wakes, before, began = look_at_wakes(pool.pids), look(pool.pids), time.monotonic()
    time.sleep(ALONE_S)
    passed = time.monotonic() - began
    idle = psutil.cpu_times_percent().idle / 100
    taken = spent(before, look(pool.pids))
    woken = spent(wakes, look_at_wakes(pool.pids))
    rates = {part: (100 * s / passed, woken.get(part, 0.0) / passed) for part, s in taken.items()}
    yield Table(
        f"{len(pool.ids)} browsers at rest for {passed:.0f} s, in which the machine was idle by "
        f"{idle:.0%}; {TURNS:,} turns of an empty loop take {loop_s():.2f} s here",
        ("process", "% of a core", "wake-ups/s"),
        (
            *((part, *rate) for part, rate in rates.items()),
            (ALL, *(sum(column) for column in zip(*rates.values(), strict=True))),
        ),
    )


def per_request(
    pids: Mapping[str, int],
    ask: Callable[[], object],
    n: int,
    rest: Mapping[str, float],
    settle: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """What each part takes for a request, in ms, beyond `rest`: at rest, in percent of a core.

    `settle` returns when what the requests leave behind is done; three seconds more are waited in any case.
    """
    before, began = look(pids), time.monotonic()
    for _ in range(n):
        ask()
    settle()
    time.sleep(_SETTLES_S)
    parts, passed = spent(before, look(pids)), time.monotonic() - began
    return {
        part: 1000 * (taken - rest.get(part, 0.0) / 100 * passed) / n
        for part, taken in parts.items()
    }


class Caller:
    """Asks /v2 the same again and again over a connection that it keeps: with a JSON body, or without one."""

    def __init__(self, port: int, path: str, document: Mapping[str, Any] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = path
        self._body = None if document is None else json.dumps(document).encode()

    @classmethod
    def of_model(cls, port: int, model: str, document: Mapping[str, Any]) -> Caller:
        """One that asks a model to compute."""
        return cls(port, f"/v2/models/{model}/infer", document)

    def __call__(self) -> dict[str, Any]:
        """The answer.

        Raises:
            RuntimeError: it was refused; says why.
        """
        headers = {"Content-Type": "application/json"} if self._body else {}
        method = "POST" if self._body else "GET"
        self._connection.request(method, self._path, self._body, headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"expected an answer of {self._path}, got: {answer['error']}")
        return answer

    def close(self) -> None:
        self._connection.close()


def table(pids: Mapping[str, int], port: int, bodies: Bodies, n: int, *, warm_up: int) -> Table:
    """At rest and, for each model asked over /v2 as JSON by one caller, per request; smallest answers, too.

    The bench itself is the supervisor, so that part has what it costs to ask. Goals are told beside the first
    model that has one: half of what was measured once, for as fast a machine as this one.
    """
    speed = loop_s()
    until_history_rests()
    rest = at_rest(pids)
    columns = {"at rest, % of a core": rest}
    for model, document in bodies.items():
        caller = Caller.of_model(port, model, document)
        for _ in range(warm_up):
            caller()
        columns[f"{model}, ms"] = per_request(pids, caller, n, rest)
        if model == SAMPLE:
            columns["goal, ms"] = {part: ms * speed / _GOALS_AT_S for part, ms in _GOALS_MS.items()}
        caller.close()
    for name, path in _SMALLEST.items():
        caller = Caller(port, path.format(model=next(iter(bodies))))
        columns[f"{name}, ms"] = per_request(pids, caller, _MANY * n, rest)
        caller.close()
    parts = list(dict.fromkeys(part for column in columns.values() for part in column))
    lines = [(part, *(column.get(part) for column in columns.values())) for part in parts]
    sums = (ALL, *(sum_of(column) for column in columns.values()))
    goals = {"at rest, % of a core": _GOAL_AT_REST} | {
        f"{name}, ms": _GOALS_OF_SMALLEST_MS[name] * speed / _GOALS_AT_S for name in _SMALLEST
    }
    wanted = ("goal: the pool at rest, web for an answer", *(goals.get(name) for name in columns))
    return Table(
        f"processor time by process ({n} requests each, one after another; what it takes at rest is "
        f"subtracted); {TURNS:,} turns of an empty "
        f"loop take {speed:.2f} s here",
        ("process", *columns),
        (*lines, sums, wanted),
    )


def until_history_rests() -> None:
    """What is recorded is taken over and decided: the first decision alone loads what takes a second."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        newest = Attempt.objects.aggregate(newest=Max("pk"))["newest"] or 0
        if outbox.taken() >= newest and not recompute.is_due():
            return
        time.sleep(_LOOK_EVERY_S)


def sum_of(column: Mapping[str, float]) -> float:
    """Of the pool's processes: the bench is none of them."""
    return sum(taken for part, taken in column.items() if part != "supervisor")
