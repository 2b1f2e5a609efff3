"""manage.py validate_faults: hurt a pool of real browsers in every way and report what became of the runs."""

from __future__ import annotations

import json
import os
import random
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from browsers import locations
from browsers.state.live import living
from inference.graph.atomic import atomic_write
from inference.management.cli import WebpoolCommand
from inference.management.places import check_place
from inference.models import Run
from webpool_site.browser_list import choose
from webpool_site.instance import Instance
from webpool_site.lab.faults import flapping, page, pressure
from webpool_site.lab.faults import report as reports
from webpool_site.lab.faults.campaign import OWNER, Campaign, Case
from webpool_site.lab.faults.health import NotHealed
from webpool_site.lab.faults.own_pool import OwnPool, enter
from webpool_site.lab.faults.proof import prove
from webpool_site.lab.faults.scenarios import SCENARIOS
from webpool_site.lab.faults.texts import campaign as texts
from webpool_site.lab.faults.work import HEAVY, LARGE, LIGHT, questions

STRATEGIES = ("none", "layer", "data", "tensor", "attention_feedforward")


class Command(WebpoolCommand):
    help = (
        "Hurt a pool of real browsers while it computes (kill, stop, slow down, cut off); report how often "
        "and how fast the right answer came all the same."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--scenario",
            default="all",
            help=f"by comma; all, or: {', '.join(SCENARIOS)}, {flapping.NAME}, {pressure.NAME}, {texts.NAME}",
        )
        parser.add_argument(
            "--strategy", default="none", help=f"by comma; all, or: {', '.join(STRATEGIES)}"
        )
        parser.add_argument(
            "--browsers",
            default=settings.WEBPOOL_BROWSERS,
            help="of the pool, as WEBPOOL_BROWSERS; each is hurt in turn",
        )
        parser.add_argument("--hurt", default="", help="only these browsers, by comma")
        parser.add_argument("--runs", type=int, default=5, help="per case (default: 5)")
        parser.add_argument(
            "--tokens", type=int, default=texts.TOKENS,
            help=f"of each text of {texts.NAME} (default: {texts.TOKENS})",
        )  # fmt: skip
        parser.add_argument(
            "--at-once", type=int, default=texts.AT_ONCE,
            help=f"texts of {texts.NAME} that are written and hurt together (default: {texts.AT_ONCE})",
        )  # fmt: skip
        parser.add_argument("--seed", type=int, default=1, help="when the injections come")
        parser.add_argument(
            "--standby",
            choices=("warm", "none", "both"),
            default="warm",
            help="whether others may take over (default: warm; none: the hurt browser alone)",
        )
        parser.add_argument(
            "--join",
            action="store_true",
            help="hurt the pool that runs on WEBPOOL_HOME instead of one started for this",
        )
        parser.add_argument("--json", type=Path, help="write the report there")
        parser.add_argument("--html", type=Path, help="write it as a page there")

    def handle(self, *_: Any, **options: Any) -> None:
        scenarios = _chosen(
            options["scenario"], (*SCENARIOS, flapping.NAME, pressure.NAME, texts.NAME), "scenario"
        )
        strategies = _chosen(options["strategy"], STRATEGIES, "strategy")
        if options["runs"] < 1:
            raise CommandError(f"--runs: expected 1 or more, got {options['runs']}", returncode=2)
        if not 8 <= options["tokens"] <= texts.MOST_TOKENS:
            raise CommandError(
                f"--tokens: expected 8 to {texts.MOST_TOKENS}, got {options['tokens']}",
                returncode=2,
            )
        if options["at_once"] < 1:
            raise CommandError(
                f"--at-once: expected 1 or more, got {options['at_once']}", returncode=2
            )
        for kind in ("json", "html"):
            check_place(f"--{kind}", options[kind])
        if options["join"]:
            if not Instance(settings.WEBPOOL_HOME).running():
                raise CommandError(
                    f"no pool runs on this home: start it with `{locations.UP}`, or leave --join out",
                    returncode=2,
                )
            browsers = tuple(sorted(living()))
            with self.acting("hurt", f"browsers {', '.join(browsers)}") as said:
                report = self._measure(browsers, scenarios, strategies, options)
                said.detail = f"{options['runs']} times in each of {', '.join(scenarios)}"
        else:
            choose(
                options["browsers"], home=settings.WEBPOOL_HOME
            )  # or refused, before a home is made
            enter("faults")
            report = self._in_own_pool(scenarios, strategies, options)
        self._write(report, options)
        if report["interrupted"]:
            raise CommandError("interrupted: this is what was measured until then", returncode=130)
        if not reports.passed(report):
            raise CommandError("an answer was lost, doubled, wrong or missing", returncode=1)

    def _in_own_pool(
        self, scenarios: Sequence[str], strategies: Sequence[str], options: dict[str, Any]
    ) -> dict[str, Any]:
        if pressure.NAME in scenarios:
            pressure.lower_the_limit(os.environ)
        pool = OwnPool(options["browsers"])
        self._say(f"starting {', '.join(pool.browsers)} in {pool.home}")
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        with pool:
            report = self._measure(pool.browsers, scenarios, strategies, options)
        report["summary"]["orphans"] += pool.left
        return report

    def _measure(
        self,
        browsers: tuple[str, ...],
        scenarios: Sequence[str],
        strategies: Sequence[str],
        options: dict[str, Any],
    ) -> dict[str, Any]:
        began, seed = timezone.now(), options["seed"]
        versions = {browser.id: browser.version for browser in living().values()}
        hurt = _chosen(options["hurt"] or "all", browsers, "browser")
        of_runs = [name for name in scenarios if name in SCENARIOS]
        cases = _cases(of_runs, strategies, hurt, options["standby"], others=len(browsers) > 1)
        figures: list[dict[str, Any]] = []
        flapped: list[dict[str, Any]] = []
        pressed: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        interrupted = False
        try:
            for name, some in cases.items():
                results = self._campaign(name, browsers, options).results(some)
                figures.extend(reports.figures(result) for result in results)
            if flapping.NAME in scenarios:
                flapped += self._flap(browsers, hurt, seed)
            if pressure.NAME in scenarios:
                pressed += self._press(browsers, seed)
            if texts.NAME in scenarios:
                for so_far in self._write_texts(browsers, options):
                    written[:] = [so_far]
        except NotHealed as error:
            raise CommandError(str(error), returncode=1) from error
        except KeyboardInterrupt:  # what was measured is told
            interrupted = True
        ours = Run.objects.filter(owner=OWNER, created_at__gte=began)
        proof = prove(ours.values_list("pk", flat=True))
        return {
            "started": began.isoformat(timespec="seconds"),
            "machine": reports.machine(),
            "seed": seed,
            "interrupted": interrupted,
            "browsers": versions,
            "cases": figures,
            "flapping": flapped,
            "memory_pressure": pressed,
            "generation": written,
            "proof": {**asdict(proof), "holds": proof.holds},
            "summary": reports.summary(figures, proof, ()),
        }

    def _campaign(
        self, platform: str, browsers: tuple[str, ...], options: dict[str, Any]
    ) -> Campaign:
        seed = options["seed"]
        (question,) = questions(LIGHT if platform == "webgpu" else HEAVY, 1, seed=seed)
        return Campaign(
            home=settings.WEBPOOL_HOME,
            browsers=browsers,
            question=question,
            trials=options["runs"],
            random=random.Random(seed),
            say=self._say,
        )

    def _flap(
        self, browsers: tuple[str, ...], hurt: Sequence[str], seed: int
    ) -> list[dict[str, Any]]:
        (question,) = questions(LIGHT, 1, seed=seed)
        return [
            flapping.flap(
                browser,
                home=settings.WEBPOOL_HOME,
                browsers=browsers,
                question=question,
                say=self._say,
            )
            for browser in hurt
        ]

    def _press(self, browsers: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
        (question,) = questions(LARGE, 1, seed=seed)
        home = settings.WEBPOOL_HOME
        return [pressure.press(home=home, browsers=browsers, question=question, say=self._say)]

    def _write_texts(
        self, browsers: tuple[str, ...], options: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        return texts.hurt(
            home=settings.WEBPOOL_HOME,
            browsers=browsers,
            texts=options["runs"],
            tokens=options["tokens"],
            at_once=options["at_once"],
            random=random.Random(options["seed"]),
            say=self._say,
        )

    def _write(self, report: dict[str, Any], options: dict[str, Any]) -> None:
        for line in reports.lines(report):
            self._say(line)
        if options["json"]:
            with atomic_write(options["json"]) as file:
                file.write((json.dumps(report, indent=2) + "\n").encode())
        if options["html"]:
            with atomic_write(options["html"]) as file:
                file.write(page.page(report).encode())

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _chosen(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    if text == "all":
        return tuple(known)
    wanted = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in wanted if name not in known]:
        raise CommandError(
            f"unknown {what} {', '.join(unknown)}: expected all, or some of {', '.join(known)}",
            returncode=2,
        )
    return wanted


def _cases(
    scenarios: Sequence[str],
    strategies: Sequence[str],
    browsers: Sequence[str],
    standby: str,
    *,
    others: bool,
) -> dict[str, list[Case]]:
    """By platform: WebGPU's cases have a question of their own."""
    made: dict[str, list[Case]] = {}
    for name in scenarios:
        scenario = SCENARIOS[name]
        for strategy in strategies:
            for browser in browsers:
                for with_others in _standbys(standby, others=others):
                    case = Case(scenario, browser, strategy, standby=with_others)
                    made.setdefault(scenario.platform, []).append(case)
    return made


def _standbys(standby: str, *, others: bool) -> Iterator[bool]:
    if standby != "none" and others:
        yield True
    if standby != "warm" or not others:
        yield False
