"""Which injuries make a scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from webpool_site.lab.faults.injection import Injury
from webpool_site.lab.faults.targets import Victim

AGAIN = "again"
"""The browser that computes by then: the one that took over."""


@dataclasses.dataclass(frozen=True)
class Blow:
    """One injury; `whom` is empty for the browser under test, or `AGAIN`."""

    victim: Victim
    injury: Injury = Injury.KILL
    whom: str = ""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens while a run computes; the blows in their order.

    Attributes:
        platform: the backend that the run is pinned to, where the fault concerns no other.
        resume: a stopped process is continued once the run has ended: nobody replaces it.
    """

    name: str
    about: str
    blows: tuple[Blow, ...]
    platform: str = "wasm"
    resume: bool = False


_ALL = (
    Scenario(
        "connection_loss",
        "the page's connections to its worker are cut",
        (Blow(Victim.WORKER, Injury.CUT),),
    ),
    Scenario(
        "connection_silence",
        "nothing of the page's reaches its worker any more, and neither is told",
        (Blow(Victim.WORKER, Injury.SILENCE),),
    ),
    Scenario("page_crash", "SIGKILL of the page's process", (Blow(Victim.PAGE),)),
    Scenario(
        "gpu_kill",
        "SIGKILL of the GPU process while WebGPU computes",
        (Blow(Victim.GPU),),
        platform="webgpu",
    ),
    Scenario("browser_kill", "SIGKILL of the browser's main process", (Blow(Victim.BROWSER),)),
    Scenario("driver_kill", "SIGKILL of the WebDriver", (Blow(Victim.DRIVER),)),
    Scenario("page_hang", "SIGSTOP of the page's process", (Blow(Victim.PAGE, Injury.STOP),)),
    Scenario(
        "browser_hang",
        "SIGSTOP of the browser's main process",
        (Blow(Victim.BROWSER, Injury.STOP),),
    ),
    Scenario(
        "slow_page",
        "the page's process gets a fifth of its time for four seconds",
        (Blow(Victim.PAGE, Injury.SLOW),),
    ),
    Scenario("worker_kill", "SIGKILL of the browser's worker", (Blow(Victim.WORKER),)),
    Scenario(
        "worker_hang",
        "SIGSTOP of the browser's worker, continued when the run has ended",
        (Blow(Victim.WORKER, Injury.STOP),),
        resume=True,
    ),
    Scenario("control_kill", "SIGKILL of the control worker", (Blow(Victim.CONTROL),)),
    Scenario("valkey_restart", "SIGKILL of Valkey, which starts again", (Blow(Victim.VALKEY),)),
    Scenario(
        "several",
        "page, control worker and Valkey killed at once",
        (Blow(Victim.PAGE), Blow(Victim.CONTROL), Blow(Victim.VALKEY)),
    ),
    Scenario(
        "cascading",
        "the browser is killed, then the page of the one that took over",
        (Blow(Victim.BROWSER), Blow(Victim.PAGE, whom=AGAIN)),
    ),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
