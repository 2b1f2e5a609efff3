"""Real faults for a running pool: who can be hurt, how, what became of it, and the proof.

targets.py     a pool's processes, found in the process table alone
injection.py   SIGKILL, SIGSTOP, pulses of both, a cut connection
scenarios.py   which faults make a scenario
work.py        a model, questions, and onnxruntime's answers computed before
trial.py       one run that is hurt, and what became of it
campaign.py    scenarios over strategies and browsers
flapping.py    one browser that crashes again and again
proof.py       what the ledger says of many runs: lost, doubled, wrong
health.py      whether the pool is whole again
own_pool.py    a pool of one's own, in a home of its own
report.py      the figures as JSON and lines; page.py: as HTML

Under fire:
chaos.py       the one who kills, in a process that knows nothing but the process table
load.py        callers that never pause, and check every answer
phases.py      what an attempt was doing when it was struck
fire.py        what both left, and whether it is as it must be
"""
