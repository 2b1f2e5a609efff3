"""Real faults for a running pool: who can be hurt, how, what became of it, and the proof.

victims.py     a pool's processes, found in the process table alone
injuries.py    SIGKILL, SIGSTOP, pulses of both, a cut connection
scenarios.py   which injuries make a scenario
work.py        a model, questions, and onnxruntime's answers computed before
trial.py       one run that is hurt, and what became of it
campaign.py    scenarios over strategies and browsers
proof.py       what the ledger says of many runs: lost, doubled, wrong
health.py      whether the pool is whole again
own_pool.py    a pool of one's own, in a home of its own
report.py      the figures as JSON and lines; page.py: as HTML
"""
