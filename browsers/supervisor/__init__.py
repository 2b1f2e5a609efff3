"""Start processes, notice their exit, restart them with back-off, and stop them in order.

How it works
1. One thread, the loop, starts every child and keeps all state. The others only send it messages:
   a thread per child that waits for its exit, a thread per start that asks whether it is ready.
2. A child starts once everything it is `after` is ready. It gets a session of its own, and asks the
   kernel to kill it when the loop's thread ends, so that `kill -9` of the supervisor takes it down.
3. A child that exits is reported first, then started again after `Restart.delay_s`. A critical one
   that keeps failing makes the whole supervisor fail.
4. A child that stands still, stopped by a signal or without a sign of life, is killed, and 3 follows.
5. A fork server (Linux) imports once what many children need and makes those by forking. They are the
   supervisor's own children: all of the above holds for them, and they go on when the server dies.
6. `stop` signals children that nobody running depends on, in parallel, then those they depended on;
   whoever misses its deadline is killed with its process group.

records.py     what a child is asked to be, what became of it, who is told
child.py       one child's state
supervisor.py  the doors
loop.py        the thread that keeps all state, and those that send it messages
starting.py    a child is started as a program or forked; the line to the fork server
fork_server.py the program that imports once and forks
sibling.py     a fork whose child belongs to this process' parent
command_line.py  what `ps` shows of a process that was forked
watch.py       the thread that looks for children that stand still
notices.py     telling the listener
logs.py        ends of logs, rotation
leftovers.py   ids on disk, and killing what a killed supervisor left
"""

from browsers.supervisor.leftovers import reap_leftovers
from browsers.supervisor.logs import tail
from browsers.supervisor.records import (
    ChildStatus,
    Listener,
    ProcessSpec,
    Restart,
    State,
    SupervisorError,
    describe_exit,
)
from browsers.supervisor.sibling import available as can_fork
from browsers.supervisor.starting import fork_server_argv
from browsers.supervisor.supervisor import Supervisor

__all__ = [
    "ChildStatus",
    "Listener",
    "ProcessSpec",
    "Restart",
    "State",
    "Supervisor",
    "SupervisorError",
    "can_fork",
    "describe_exit",
    "fork_server_argv",
    "reap_leftovers",
    "tail",
]
