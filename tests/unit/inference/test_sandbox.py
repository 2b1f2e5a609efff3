"""What a stranger's file does ends its own process, and is told; nothing else is hurt or read."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from inference import sandbox
from inference.batches import parquet
from inference.batches.readers import read_items
from inference.catalog import expectations, reading
from inference.catalog.tokenizer import Tokenizer
from inference.conversion import rows
from inference.errors import InvalidRequest, TooLarge
from inference.sandbox import frames, jobs
from inference.sandbox.confinement import landlock_version
from inference.sandbox.giving_way import NICE
from inference.sandbox.helper import helper
from inference.sandbox.limits import Limits, limits_for
from inference.zoo import micro
from tests.support import small_models
from webpool_site.doctor import machine
from webpool_site.doctor.finding import Level

vi, nd = h.make_tensor_value_info, h.make_node
SOON_S = 180.0


def saved(
    path: Path, nodes: list[Any], ins: list[Any], outs: list[Any], weights: dict[str, Any]
) -> Path:
    held = [nh.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = h.make_graph(nodes, "g", ins, outs, held)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


def endless(path: Path) -> Path:
    path.write_bytes(small_models.endless())
    return path


def read(path: Path, folder: Path, **limits: Any) -> Any:
    made = {"memory_mb": 2048, "seconds": SOON_S} | limits
    return sandbox.ask(
        "read",
        reads=[path.parent],
        writes=folder,
        limits=Limits(**made),
        path=str(path),
        folder=str(folder),
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# --- what it starts from ---


def test_the_helper_forks_with_one_thread(tmp_path: Path, out: Path) -> None:
    reading.read(micro.chain(tmp_path / "well.onnx"), out)
    assert len(list(Path(f"/proc/{helper().pid}/task").iterdir())) == 1


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """Left alone it keeps a device's identity and a queue of events in the user's home, and sends them."""
    path = micro.chain(tmp_path / "m.onnx")
    script = (
        "import sys, inference, onnxruntime as ort; "
        "ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    )
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", script, str(path)],
        check=True,
        cwd=Path(__file__).parents[3],
        env={"PATH": os.defpath, "HOME": str(home)},
    )
    assert not list(home.rglob("*"))


# --- what ends a process ---------------------------------------------------------------------------


def test_constants_that_raise_sigfpe_are_refused_with_the_signal(tmp_path: Path, out: Path) -> None:
    nodes = [nd("Div", ["a", "b"], ["q"]), nd("Add", ["x", "q"], ["y"])]
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        [vi("x", T.INT32, [1])],
        [vi("y", T.INT32, [1])],
        {"a": np.array([-(2**31)], np.int32), "b": np.array([-1], np.int32)},
    )
    with pytest.raises(sandbox.Ended, match="SIGFPE"):
        reading.read(path, out)
    assert not list(out.iterdir())
    assert reading.read(micro.chain(tmp_path / "well.onnx"), out).path.exists()


def test_a_model_that_never_ends_is_stopped(tmp_path: Path, out: Path) -> None:
    path = endless(tmp_path / "m.onnx")
    before = psutil.Process(helper().pid).children()
    with pytest.raises(sandbox.Ended, match=r"longer than 2 s.*WEBPOOL_SANDBOX_SECONDS"):
        read(path, out, seconds=2.0)
    assert set(psutil.Process(helper().pid).children()) <= set(before)


def test_a_model_that_wants_too_much_memory_is_told_the_limit(tmp_path: Path, out: Path) -> None:
    nodes = [nd("ConstantOfShape", ["s"], ["z"]), nd("Add", ["x", "z"], ["y"])]
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        [vi("x", T.FLOAT, [1])],
        [vi("y", T.FLOAT, ["n"])],
        {"s": np.array([2**29], np.int64)},  # folded while the session is made
    )
    with pytest.raises(sandbox.Ended, match=r"256 MB.*WEBPOOL_SANDBOX_MEMORY_MB"):
        read(path, out, memory_mb=256)


def test_inputs_that_are_too_large_to_be_made_up_cost_nothing(tmp_path: Path, out: Path) -> None:
    ports = [vi("x", T.FLOAT, ["n", 16384, 8192])], [vi("y", T.FLOAT, ["n", 16384, 8192])]
    path = saved(tmp_path / "m.onnx", [nd("Neg", ["x"], ["y"])], *ports, {})
    summary = read(path, out, memory_mb=256).document["summary"]
    assert (summary["batch_axis"]["verdict"], summary["batch_axis"]["tried"]) == ("proved", [])


# --- what is packed ---------------------------------------------------------------------------------


TYPES = {"x": "float32"}


def packed(path: Path, query: str) -> Path:
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def test_a_small_parquet_file_with_a_huge_row_is_refused_in_that_row(
    tmp_path: Path, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20
    query = "SELECT [0.5::FLOAT for i in range(n)] AS x FROM (VALUES (2), (200000)) v(n)"
    path = packed(tmp_path / "in.parquet", query)
    assert path.stat().st_size < 2**16
    first, second = read_items(path, "parquet", TYPES)
    assert first.values is not None
    assert first.values["x"].tolist() == [0.5, 0.5]
    assert second.values is None
    assert "WEBPOOL_MAX_REQUEST_MB" in second.error


def test_a_line_that_builds_too_much_ends_the_process_that_builds_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_SANDBOX_MEMORY_MB = 100
    settings.WEBPOOL_MAX_JSON_VALUES = 10**7
    (tmp_path / "in.jsonl").write_text('{"x": [' + "{}," * 2_000_000 + "{}]}")
    with pytest.raises(InvalidRequest, match="WEBPOOL_SANDBOX_MEMORY_MB"):
        list(read_items(tmp_path / "in.jsonl", "jsonl", TYPES))


def test_parquet_that_needs_too_much_to_be_written_is_told_as_that(
    tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_SANDBOX_MEMORY_MB = 100
    (tmp_path / "lines").write_text('{"x": 1.5}\n')
    with pytest.raises(parquet.NotParquet, match="WEBPOOL_SANDBOX_MEMORY_MB"):
        parquet.from_jsonl(
            tmp_path / "lines", {"x": "DOUBLE"}, tmp_path / "made", longest=2**32 - 2
        )
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"inputs": {"x": {}}}', "either image or sound"),
        (b"[" * 60 + b"]" * 60, "nested too deeply"),
        (b"{" + b'"a": [],' * 300_000 + b'"b": []}', "values, the limit"),
        (b'{"examples": [NaN]}', "NaN"),
    ],
)
def test_what_is_declared_with_a_model_is_built_elsewhere(
    tmp_path: Path, settings: Any, content: bytes, says: str
) -> None:
    settings.WEBPOOL_MAX_JSON_VALUES = 10_000
    path = tmp_path / "webpool.json"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=says):
        expectations.declared_in(path)


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, settings: Any) -> None:
    settings.WEBPOOL_MAX_UPLOAD_MB = 1
    path = packed(
        tmp_path / "in.parquet", "SELECT [1.5::FLOAT for i in range(5000)] AS x FROM range(40)"
    )
    assert path.stat().st_size < 2**14
    with pytest.raises(TooLarge, match="WEBPOOL_MAX_UPLOAD_MB"):
        list(read_items(path, "parquet", TYPES))


def test_an_npz_whose_header_claims_terabytes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros(8, np.float32))
    raw = (tmp_path / "in.npz").read_bytes()
    (tmp_path / "in.npz").write_bytes(raw.replace(b"'shape': (8,), ", b"'shape':(10**13,), "))
    with pytest.raises(InvalidRequest):
        list(read_items(tmp_path / "in.npz", "npz", TYPES))


def test_a_tokenizer_that_makes_too_much_of_a_text_is_the_callers_matter(
    tmp_path: Path, settings: Any
) -> None:
    from tokenizers import Regex, normalizers
    from tokenizers import Tokenizer as Words
    from tokenizers.models import WordLevel

    settings.WEBPOOL_SANDBOX_MEMORY_MB = 256
    words = Words(WordLevel({"?": 0}, unk_token="?"))
    swell = normalizers.Replace(Regex("a"), "a" * 2**12)
    words.normalizer = normalizers.Sequence([swell, swell, swell])
    words.save(str(tmp_path / "words.json"))
    tokenizer = Tokenizer(tmp_path / "words.json", ["input_ids"])
    with pytest.raises(InvalidRequest, match="could not become tokens"):
        tokenizer.encode(["a"])
    assert tokenizer.encode(["b"])["input_ids"].tolist() == [[0]]


# --- what is not given ------------------------------------------------------------------------------


def test_only_what_is_given_can_be_read_or_written(tmp_path: Path, out: Path) -> None:
    told = machine._files_apart()
    if landlock_version() < 1:
        assert told.level is Level.NOTE, "doctor says so"
        pytest.skip("this kernel has no Landlock")
    assert told.level is Level.OK
    path = micro.chain(tmp_path / "there" / "m.onnx") if _made(tmp_path / "there") else None
    assert path is not None
    with pytest.raises((sandbox.Refused, sandbox.Failed), match=r"Permission|denied|read"):
        sandbox.ask("work", reads=[out], path=str(path))
    with pytest.raises(sandbox.Failed, match="Permission denied"):
        sandbox.ask("read", reads=[path], path=str(path), folder=str(out))


def test_keys_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBPOOL_SECRET_KEY", "what nobody must know")
    helper().kill()
    assert "what nobody must know" not in psutil.Process(helper().pid).environ().values()


def _made(folder: Path) -> bool:
    folder.mkdir()
    return True


# --- processes --------------------------------------------------------------------------------------


def test_a_helper_that_was_killed_is_started_again(tmp_path: Path, out: Path) -> None:
    path = micro.chain(tmp_path / "m.onnx")
    read(path, out)
    gone = psutil.Process(helper().pid)
    gone.kill()
    gone.wait(SOON_S)
    assert read(path, out).document["work"] > 0


def test_a_child_ends_with_its_helper(tmp_path: Path, out: Path) -> None:
    path, told = endless(tmp_path / "m.onnx"), []

    def asked() -> None:
        try:
            read(path, out)
        except Exception as error:
            told.append(error)

    before = {child.pid for child in psutil.Process(helper().pid).children()}
    thread = threading.Thread(target=asked)
    thread.start()
    children: list[psutil.Process] = []
    until = time.monotonic() + SOON_S
    while not children and time.monotonic() < until:
        children = [c for c in psutil.Process(helper().pid).children() if c.pid not in before]
    os.kill(helper().pid, signal.SIGKILL)
    thread.join(SOON_S)
    assert told
    psutil.wait_procs(children, SOON_S)
    assert children
    assert not any(child.is_running() for child in children)


def test_a_session_that_is_let_go_ends_its_child(tmp_path: Path) -> None:
    path = packed(tmp_path / "in.parquet", "SELECT 1 AS x")
    before = psutil.Process(helper().pid).children()
    session = sandbox.opened(
        "rows", reads=[path], path=str(path), kind="parquet", rows=rows.__name__, types=TYPES,
        like={}, most_bytes=99, most_row_bytes=99, most_items=9, bounds={"megabytes": 1},
    )  # fmt: skip
    children = [c for c in psutil.Process(helper().pid).children() if c not in before]
    assert children
    del session
    gc.collect()
    _, alive = psutil.wait_procs(children, SOON_S)
    assert not alive


@pytest.mark.parametrize("job", [*sorted(jobs.GIVING_WAY), "read"])
def test_what_one_callers_large_data_cause_gives_way_and_nothing_else(job: str) -> None:
    """As a process, and as a session of its own where the kernel weighs those first."""
    before = psutil.Process(helper().pid).children()
    with sandbox.Session(job, [], None, limits_for()):
        until = time.monotonic() + SOON_S
        made: list[psutil.Process] = []
        while not made or not _is_confined(made[0].pid):
            assert time.monotonic() < until
            made = [c for c in psutil.Process(helper().pid).children() if c not in before]
        (child,) = made
        gives_way = job in jobs.GIVING_WAY
        assert child.nice() == (NICE if gives_way else 0)
        assert (os.getsid(child.pid) == child.pid) == gives_way
        weighed = Path(f"/proc/{child.pid}/autogroup")
        if weighed.exists():
            assert weighed.read_text().split()[-1] == str(NICE if gives_way else 0)


def _is_confined(pid: int) -> bool:
    return "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


# --- answers are not trusted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "described",
    [
        {"name": "x", "dtype": "float32", "shape": [3], "bytes": 8},
        {"name": "x", "dtype": "object", "shape": [1], "bytes": 8},
        {"name": "x", "dtype": "float32", "shape": [-1], "bytes": -4},
        {"name": 7, "dtype": "int8", "shape": [1], "bytes": 1},
        {"name": "x", "dtype": "int8", "shape": [2**40], "bytes": 2**40},
    ],
)
def test_an_array_of_another_size_or_type_is_no_answer(described: dict[str, Any]) -> None:
    import json

    mine, theirs = socket.socketpair()
    with mine, theirs:
        head = json.dumps({"document": None, "arrays": [described]}).encode()
        theirs.sendall(len(head).to_bytes(4, "little") + head)
        with pytest.raises(frames.BadFrame):
            frames.receive(mine)


def test_arrays_and_strings_travel_as_they_are() -> None:
    arrays = {
        "f": np.array([[1.5, -0.0]], np.float16),
        "s": np.array(["one", "zwei\0"], dtype=object),
        "e": np.zeros((0, 3), np.int64),
    }
    mine, theirs = socket.socketpair()
    with mine, theirs:
        frames.send(theirs, {"a": [1]}, arrays)
        got = frames.receive(mine)
    assert got is not None
    assert got.document == {"a": [1]}
    assert {n: (a.shape, a.tolist()) for n, a in got.arrays.items()} == {
        n: (a.shape, a.tolist()) for n, a in arrays.items()
    }
