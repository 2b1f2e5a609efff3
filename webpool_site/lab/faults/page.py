"""A campaign's figures as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from webpool_site.lab.faults import report as reports

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem;
  color: #1c2430 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { padding: .3rem .6rem; text-align: left }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
tr:nth-child(even) { background: #f4f6f9 }
th { border-bottom: 2px solid #1c2430 } .bad { color: #b00020; font-weight: 600 } .good { color: #0a6b2c }
figure { display: inline-block; margin: 0 2rem 1rem 0 } figure b { font-size: 1.6rem; display: block }
@media (prefers-color-scheme: dark) { body { background: #14181f; color: #dde3ec }
  tr:nth-child(even) { background: #1c222c } th { border-color: #dde3ec }
  .good { color: #58c07c } .bad { color: #ff6b7a } }
"""


def page(report: Mapping[str, Any]) -> str:
    """One page, without scripts or anything from elsewhere."""
    summary = report["summary"]
    counts = [
        ("right", f"{summary['right']} of {summary['hits']}", summary["right"] != summary["hits"]),
        *((name, summary[name], bool(summary[name])) for name in ("lost", "doubled", "wrong")),
        ("failed", sum(summary["failed"].values()), bool(summary["failed"])),
        ("orphans", len(summary["orphans"]), bool(summary["orphans"])),
    ]
    head = "".join(
        f'<figure class="{"bad" if wrong else "good"}"><b>{escape(str(value))}</b>{name}</figure>'
        for name, value, wrong in counts
    )
    tried = [case for case in report["cases"] if not case["not_applicable"]]
    about = {case["scenario"]: case["about"] for case in report["cases"]}
    skipped = "".join(
        f"<li>{escape(case['scenario'])}, {escape(case['strategy'])}, {escape(case['browser'])}: "
        f"{escape(case['not_applicable'])}</li>"
        for case in report["cases"]
        if case["not_applicable"]
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>webpool: faults</title>'
        f"<style>{_STYLE}</style><h1>Real faults, and what became of the runs</h1>"
        f"<p>{escape(report['started'])}, {escape(str(report['machine']))}, seed {report['seed']}; "
        + escape(", ".join(f"{name} {version}" for name, version in report["browsers"].items()))
        + f"</p>{head}<p>Recovery: how much later than an undisturbed run of the same session the right "
        "answer came. Whole again: until every browser took work again. Standby none: the run may use "
        "that browser only.</p>"
        + _table(tried)
        + "".join(f"<p>{escape(reports.flapped(each))}</p>" for each in report["flapping"])
        + "".join(f"<p>{escape(reports.pressed(each))}</p>" for each in report["memory_pressure"])
        + "".join(f"<p>{escape(reports.written(each))}</p>" for each in report["generation"])
        + "<h2>Scenarios</h2><dl>"
        + "".join(f"<dt><b>{escape(k)}</b></dt><dd>{escape(v)}</dd>" for k, v in about.items())
        + "</dl>"
        + (f"<h2>Not applicable</h2><ul>{skipped}</ul>" if skipped else "")
        + "</html>\n"
    )


def _table(cases: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th{_number(i)}>{name}</th>" for i, name in enumerate(reports.COLUMNS))
    body = "".join(
        f"<tr{' class=bad' if reports.bad(case) else ''}>"
        + "".join(
            f"<td{_number(i)}>{escape(cell)}</td>" for i, cell in enumerate(reports.cells(case))
        )
        + "</tr>"
        for case in cases
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(column: int) -> str:
    return ' class="n"' if 3 < column < len(reports.COLUMNS) - 1 else ""
