"""Which faults make a scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from webpool_site.lab.faults.injection import Fault
from webpool_site.lab.faults.targets import Target

AGAIN = "again"
"""The browser that computes by then: the one that took over."""


@dataclasses.dataclass(frozen=True)
class Injection:
    """One fault; `whom` is empty for the browser under test, or `AGAIN`."""

    target: Target
    fault: Fault = Fault.KILL
    whom: str = ""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens while a run computes; the injections in their order.

    Attributes:
        platform: the backend that the run is pinned to, where the fault concerns no other.
        resume: a stopped process is continued once the run has ended: nobody replaces it.
    """

    name: str
    about: str
    injections: tuple[Injection, ...]
    platform: str = "wasm"
    resume: bool = False


_ALL = (
    Scenario(
        "connection_loss",
        "the page's connections to its worker are cut",
        (Injection(Target.WORKER, Fault.CUT),),
    ),
    Scenario(
        "connection_silence",
        "nothing of the page's reaches its worker any more, and neither is told",
        (Injection(Target.WORKER, Fault.SILENCE),),
    ),
    Scenario("page_crash", "SIGKILL of the page's process", (Injection(Target.PAGE),)),
    Scenario(
        "gpu_kill",
        "SIGKILL of the GPU process while WebGPU computes",
        (Injection(Target.GPU),),
        platform="webgpu",
    ),
    Scenario("browser_kill", "SIGKILL of the browser's main process", (Injection(Target.BROWSER),)),
    Scenario("driver_kill", "SIGKILL of the WebDriver", (Injection(Target.DRIVER),)),
    Scenario("page_hang", "SIGSTOP of the page's process", (Injection(Target.PAGE, Fault.STOP),)),
    Scenario(
        "browser_hang",
        "SIGSTOP of the browser's main process",
        (Injection(Target.BROWSER, Fault.STOP),),
    ),
    Scenario(
        "slow_page",
        "the page's process gets a fifth of its time for four seconds",
        (Injection(Target.PAGE, Fault.SLOW),),
    ),
    Scenario("worker_kill", "SIGKILL of the browser's worker", (Injection(Target.WORKER),)),
    Scenario(
        "worker_hang",
        "SIGSTOP of the browser's worker, continued when the run has ended",
        (Injection(Target.WORKER, Fault.STOP),),
        resume=True,
    ),
    Scenario("control_kill", "SIGKILL of the control worker", (Injection(Target.CONTROL),)),
    Scenario(
        "valkey_restart", "SIGKILL of Valkey, which starts again", (Injection(Target.VALKEY),)
    ),
    Scenario(
        "several",
        "page, control worker and Valkey killed at once",
        (Injection(Target.PAGE), Injection(Target.CONTROL), Injection(Target.VALKEY)),
    ),
    Scenario(
        "cascading",
        "the browser is killed, then the page of the one that took over",
        (Injection(Target.BROWSER), Injection(Target.PAGE, whom=AGAIN)),
    ),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
