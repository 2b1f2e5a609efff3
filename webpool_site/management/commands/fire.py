"""manage.py fire: serve under fire, and prove from the ledger that nothing was lost, doubled or wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from inference.graph.atomic import atomic_write
from inference.management.cli import WebpoolCommand
from inference.management.places import check_place
from webpool_site.browser_list import choose
from webpool_site.lab.faults import report as reports
from webpool_site.lab.faults.chaos import Strike
from webpool_site.lab.faults.fire import kept_by_history, sentence, verdict, violations
from webpool_site.lab.faults.health import NotHealed, wait_whole
from webpool_site.lab.faults.load import DEADLINE_S, Load
from webpool_site.lab.faults.own_pool import OwnPool, enter
from webpool_site.lab.faults.texts.writers import Writers
from webpool_site.lab.faults.work import HEAVY, LIGHT, questions

_WHOLE_WITHIN_S = 180.0
_ENDED_WITHIN_S = 420.0
_TELL_EVERY_S = 10.0


class Command(WebpoolCommand):
    help = (
        "Keep a pool of real browsers under load while a process outside kills and stops its processes at "
        "random; then prove from the ledger that every request was answered once and rightly, and that every "
        "text came token by token, as without them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kills", type=int, default=1000)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--every", type=float, default=1.0, help="mean seconds between two kills"
        )
        parser.add_argument(
            "--seconds",
            type=float,
            default=float("inf"),
            help="of killing, at most (default: no limit)",
        )
        parser.add_argument("--callers", type=int, default=4)
        parser.add_argument("--browsers", default=settings.WEBPOOL_BROWSERS)
        parser.add_argument("--json", type=Path, help="write the report there")

    def handle(self, *_: Any, **options: Any) -> None:
        for name in ("kills", "every", "seconds", "callers"):
            if not options[name] > 0:
                raise CommandError(
                    f"--{name}: expected more than 0, got {options[name]}", returncode=2
                )
        check_place("--json", options["json"])
        choose(options["browsers"], home=settings.WEBPOOL_HOME)  # or refused, before a home is made
        # As long as its requests do, a text waits for a browser.
        os.environ.setdefault("WEBPOOL_RUN_DEADLINE_S", str(DEADLINE_S))
        enter("fire")
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        pool = OwnPool(options["browsers"])
        seed = options["seed"]
        self._say(f"starting {', '.join(pool.browsers)} in {pool.home}")
        heavy, light = questions(HEAVY, 4, seed=seed), questions(LIGHT, 8, seed=seed)
        load = Load(
            [*heavy, *light, *light], light,
            callers=options["callers"], seed=seed, browsers=len(pool.browsers),
        )  # fmt: skip
        texts = Writers(callers=1, stages=min(3, len(pool.browsers)), seed=seed)
        with pool:
            load.start()
            texts.start()
            try:
                strikes, whole = self._burn(pool, options)
            finally:
                ended = load.stop(_ENDED_WITHIN_S)
                ended = texts.stop(_ENDED_WITHIN_S) and ended
            report = verdict(load, texts, strikes)
        report |= {
            "history": kept_by_history(),
            "seed": seed,
            "machine": reports.machine(),
            "browsers": list(pool.browsers),
            "all_ended_in_time": ended,
            "whole_again_s": whole,
            "orphans": list(pool.left),
        }
        if options["json"]:
            listed = [asdict(strike) for strike in strikes]
            with atomic_write(options["json"]) as file:
                file.write(json.dumps({**report, "strikes": listed}).encode())
        for line in sentence(report):
            self._say(line)
        if why := violations(report):
            raise CommandError("; ".join(why), returncode=1)

    def _burn(self, pool: OwnPool, options: dict[str, Any]) -> tuple[list[Strike], float | None]:
        """Let the other process strike; what it did, and how long until the pool was whole again."""
        monkey = subprocess.Popen(
            [sys.executable, "-m", "webpool_site.lab.faults.chaos", str(pool.home),
             "--kills", str(options["kills"]), "--seed", str(options["seed"]),
             "--every", str(options["every"]), "--seconds", str(options["seconds"])],
            cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        strikes: list[Strike] = []
        tell_at = time.monotonic() + _TELL_EVERY_S
        assert monkey.stdout is not None
        try:
            for line in monkey.stdout:
                strikes.append(Strike(**json.loads(line)))
                if time.monotonic() > tell_at:
                    tell_at += _TELL_EVERY_S
                    self._say(f"  {len(strikes)} of {options['kills']} strikes")
        except KeyboardInterrupt:
            self._say(f"interrupted after {len(strikes)} strikes; what was done is proved")
        finally:
            monkey.terminate()
            monkey.wait()
        began = time.monotonic()
        try:
            wait_whole(pool.home, pool.browsers, timeout_s=_WHOLE_WITHIN_S)
        except NotHealed as error:
            self._say(str(error))
            return strikes, None
        return strikes, round(time.monotonic() - began, 2)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
