"""Process trees of browsers: started so that they die with their worker, listed, measured, killed.

A browser is a driver, the browser proper and its children. Three nets catch them, because each alone
has holes:

1. The *container*: the driver is the first process of a PID namespace of its own and dies with the
   thread that started it (`setpriv --pdeathsig`), so the kernel ends everything, stopped or not.
   Where namespaces are refused, the driver still dies with its starter and has its own session.
2. `kill_all` ends a recorded tree: polite quits prove nothing.
3. `reap_orphans` finds by the marks in their environment what an earlier life left behind.

PDEATHSIG follows the *thread* that created the child, so every child is created by one thread that
lives as long as this process (`spawn`).

containment.py  the container, found by trying
starting.py     children that die with this process
network.py      where a driver listens: a network of its own
identity.py     as whom: a user of their own
socket_broker.py  the first program of a container
trees.py        listed, measured, killed
lookout.py      looked at again and again
orphans.py      marked, found again, reaped
politeness.py   giving way to others while they start
"""

from browsers.processes.containment import MODE_VARIABLE, containment, user_namespaces
from browsers.processes.identity import USER_VARIABLE, Identity, identity
from browsers.processes.network import (
    HOST,
    OPEN_DOOR,
    OPEN_DOOR_REMEDY,
    Network,
    listening_port,
    spawn_apart,
)
from browsers.processes.orphans import MARK_PROFILE, marks, reap_orphans
from browsers.processes.starting import spawn, stop
from browsers.processes.trees import kill_tree, pss_mb, running, tree, wait_ended

__all__ = [
    "HOST",
    "MARK_PROFILE",
    "MODE_VARIABLE",
    "OPEN_DOOR",
    "OPEN_DOOR_REMEDY",
    "USER_VARIABLE",
    "Identity",
    "Network",
    "containment",
    "identity",
    "kill_tree",
    "listening_port",
    "marks",
    "pss_mb",
    "reap_orphans",
    "running",
    "spawn",
    "spawn_apart",
    "stop",
    "tree",
    "user_namespaces",
    "wait_ended",
]
