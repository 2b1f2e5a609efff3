"""What a worker makes of its settings, and what it publishes of its browser."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from browsers.core.answers.known import Known
from browsers.core.errors import BrowserCrash, DeadlinePassed, InvalidInput, Judged
from browsers.core.failures import Category, Rung
from browsers.core.protocol import WireTensor
from browsers.drivers import Role, get_driver
from browsers.models import BrowserState
from browsers.queues import queue_of
from browsers.redis import client
from browsers.session import RunReport
from browsers.worker import BrowserWorker, Hooks
from tests.support import small_models

HOOKS = Hooks(
    restarted=lambda browser_id: None,
    ready=lambda browser_id: None,
    broken=lambda browser_id: None,
    hand_over=lambda browser_id, files: 0,
    known=lambda sha256: Known(why_none="none was made"),
)
X: NDArray[np.float32] = np.array([-1, 0, 2], np.float32)


@pytest.fixture
def worker(
    settings: Any, database: None, remote_url: str, tmp_path: Path
) -> Iterator[BrowserWorker]:
    """A worker of the kind `remote` with a browser that is started, and no services around it."""
    settings.WEBPOOL_HOME = tmp_path
    settings.WEBPOOL_REMOTE_URL = remote_url
    (tmp_path / "files").mkdir()
    worker = BrowserWorker("remote", "remote", HOOKS)
    worker.session.start(60)
    yield worker
    worker.session.close(10)


def test_a_remote_webdriver_serves_a_worker(worker: BrowserWorker, settings: Any) -> None:
    facts = worker.session.facts
    assert facts is not None
    assert (facts.kind, facts.family) == ("remote", "chrome")
    model = put(settings, small_models.relu())
    last = [compute(worker, model, "wasm") for _ in range(3)][-1]
    listed = worker.status.live().loaded[model]
    assert (listed.backend, listed.compute_ms) == ("wasm", worker.pace.compute_ms(model, "wasm"))
    assert last.warm
    if "webgpu" in {backend.name for backend in facts.healthy}:
        for _ in range(2):
            compute(worker, model, "webgpu")
        listed = worker.status.live().loaded[model]
        assert (listed.backend, listed.compute_ms) == (
            "webgpu",
            worker.pace.compute_ms(model, "webgpu"),
        )
        compute(worker, model, "wasm")
        assert worker.status.live().loaded[model].backend == "wasm"


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_a_remote_webdriver_takes_no_local_slot(settings: Any, kind: str) -> None:
    settings.WEBPOOL_REMOTE_URL = "http://127.0.0.1:9"
    worker = BrowserWorker(kind, kind, HOOKS)
    assert worker.session._window._launch.remote_url is None
    worker.session.close(1)
    assert settings.WEBPOOL_MEMORY_LIMIT_MB[get_driver("remote").family] == 4096


def test_a_browser_that_dies_while_nobody_listens_is_noticed_all_the_same(
    settings: Any, database: None, valkey: Any, tmp_path: Path
) -> None:
    """At the end of a repair its events are not heard, and nothing is placed on it that would tell."""
    settings.WEBPOOL_HOME = tmp_path
    queue = queue_of("chromium-npm")
    client().delete(queue)
    worker = BrowserWorker("chromium-npm", "chromium-npm", HOOKS)
    worker.start()

    def asked() -> bool:
        """Whether a repair was asked for, in a message that this takes off its queue."""
        (*messages,) = client().lrange(queue, 0, -1)
        client().delete(queue)
        return any(b"repair_browser" in message for message in messages)

    def die_unheard() -> None:
        worker.status.state = BrowserState.RECOVERING
        browser = worker.session.browser
        assert browser is not None
        for process in browser.with_role(Role.BROWSER):
            process.kill()
        until = time.monotonic() + 30
        while worker.session.connected:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not asked()

    try:
        die_unheard()
        worker._become_ready()
        assert asked()
        assert worker.repair_if_broken()
        client().delete(queue)  # while it lasted, the keeper may have asked once more
        die_unheard()
        worker.status.state = BrowserState.READY
        until = time.monotonic() + 60
        while not asked():
            assert time.monotonic() < until, "the page's pulse is felt"
            time.sleep(0.05)
        assert worker.repair_if_broken()
        assert worker.session.ping(10) > 0
    finally:
        worker.close()


def test_a_browser_that_refuses_what_may_be_right_is_asked_a_known_answer_soon(
    settings: Any, database: None, valkey: Any, tmp_path: Path
) -> None:
    settings.WEBPOOL_HOME = tmp_path
    (tmp_path / "files").mkdir()
    queue = queue_of("chromium-npm")
    worker = BrowserWorker("chromium-npm", "chromium-npm", HOOKS)
    worker.start()
    model = put(settings, small_models.relu())

    def checks() -> int:
        return sum(b"check_browser" in message for message in client().lrange(queue, 0, -1))

    def refuse(judged: Judged) -> None:
        with pytest.raises(InvalidInput):
            worker.run(
                model,
                [WireTensor("x", "int64", (1,), bytes(8))],
                backend="wasm",
                strict=False,
                dims={},
                rows=1,
                deadline_s=60,
                judge=lambda error: judged,
            )

    try:
        client().delete(queue)
        refuse(Judged(Category.REFUSED, "as another says", everywhere=True))
        refuse(Judged(Category.INVALID_INPUT, "no browser can", everywhere=True))
        time.sleep(2 * settings.WEBPOOL_HEARTBEAT_S)
        assert checks() == 0
        for _ in range(2):
            refuse(Judged(Category.REFUSED, "by one browser"))
        until = time.monotonic() + 30
        while not checks():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(2 * settings.WEBPOOL_HEARTBEAT_S)
        assert checks() == 1, "not each time"
    finally:
        worker.close()
        client().delete(queue)


def test_who_waits_for_a_page_whose_browser_was_stopped_waits_no_longer_and_repairs_it(
    settings: Any, database: None, valkey: Any, tmp_path: Path
) -> None:
    """The page goes on: it answers its pulse, and computes what would take for ever."""
    settings.WEBPOOL_HOME = tmp_path
    (tmp_path / "files").mkdir()
    client().delete(queue_of("chromium-npm"))
    worker = BrowserWorker("chromium-npm", "chromium-npm", HOOKS)
    worker.start()

    def stop() -> None:
        browser = worker.session.browser
        assert browser is not None
        for process in browser.with_role(Role.BROWSER):
            process.send_signal(signal.SIGSTOP)

    try:
        with pytest.raises(BrowserCrash, match="the page is gone"):
            compute_for_ever(worker, settings, meanwhile=stop)
        broken = worker._watch.broken
        assert broken is not None
        assert (broken.name, broken.first_rung) == ("stopped", Rung.RESTART)
        assert worker.repair_if_broken()
        assert worker.session.ping(10) > 0, "the new page's connection is not cut"
    finally:
        worker.close()


def test_a_page_that_stopped_is_given_up_where_a_texts_step_was_the_first_to_see_it(
    settings: Any, database: None, valkey: Any, tmp_path: Path
) -> None:
    """The main thread, which is to repair it, waits for that page's answer meanwhile."""
    settings.WEBPOOL_HOME = tmp_path
    (tmp_path / "files").mkdir()
    worker = BrowserWorker("chromium-npm", "chromium-npm", HOOKS)
    worker.start()

    def stop() -> None:
        browser = worker.session.browser
        assert browser is not None
        for process in browser.with_role(Role.CONTENT):
            process.send_signal(signal.SIGSTOP)
        late = DeadlinePassed("the engine did not answer", first_rung=Rung.RESTART_ENGINE)
        worker.holding.step_failed("", late)

    try:
        with pytest.raises(
            BrowserCrash, match="the page is gone"
        ):  # its deadline would be another error
            compute_for_ever(worker, settings, meanwhile=stop)
        broken = worker._watch.broken
        assert broken is not None
        assert broken.name == "step_failed"
        assert worker.repair_if_broken()
        assert worker.session.ping(10) > 0
    finally:
        worker.close()


def compute_for_ever(
    worker: BrowserWorker, settings: Any, *, meanwhile: Callable[[], None]
) -> None:
    inputs = [
        WireTensor("times", "int64", (), np.int64(10**9).tobytes()),
        WireTensor("x", "float32", (256, 256), np.zeros((256, 256), np.float32).tobytes()),
    ]
    worker.run(
        put(settings, small_models.slow()), inputs, backend="wasm", strict=False, dims={}, rows=None,
        deadline_s=240, meanwhile=meanwhile,
    )  # fmt: skip


def put(settings: Any, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    (settings.WEBPOOL_HOME / "files" / name).write_bytes(content)
    return name


def compute(worker: BrowserWorker, model: str, backend: str) -> RunReport:
    report = worker.run(
        model,
        [WireTensor("x", "float32", X.shape, X.tobytes())],
        backend=backend,
        strict=False,
        dims={},
        rows=len(X),
        deadline_s=60,
    )
    (output,) = report.outputs
    np.testing.assert_array_equal(np.frombuffer(output.data, np.float32), np.maximum(X, 0))
    return report
