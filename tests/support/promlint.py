"""What `promtool check metrics` complains about, for a text in Prometheus' format."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

_NAME = re.compile(r"[a-z_:][a-z0-9_:]*")
_UNITS = (
    "_milliseconds",
    "_ms",
    "_mb",
    "_megabytes",
    "_kilobytes",
    "_minutes",
    "_hours",
    "_percent",
)
_SUMMED = {"histogram", "summary"}


def complaints(text: str) -> list[str]:
    """Names, units, types, help, duplicates; empty when all is well."""
    return [*_of_lines(text), *_of_families(text)]


def _of_lines(text: str) -> Iterator[str]:
    """What the parser would let pass: families twice, series twice."""
    for kind in ("HELP", "TYPE"):
        named = [line.split()[2] for line in text.splitlines() if line.startswith(f"# {kind} ")]
        yield from (f"{name}: {kind} twice" for name in {n for n in named if named.count(n) > 1})
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[:1] not in ("#", "")]
    yield from (f"{name}: twice" for name in {one for one in series if series.count(one) > 1})


def _of_families(text: str) -> Iterator[str]:
    for family in text_string_to_metric_families(text):
        name, kind = family.name, family.type
        if not family.documentation:
            yield f"{name}: no help"
        if kind == "unknown":
            yield f"{name}: no type"
        if not _NAME.fullmatch(name):
            yield f"{name}: not snake_case"
        if name.endswith(_UNITS):
            yield f"{name}: not in base units"
        if kind != "counter" and name.endswith("_total"):
            yield f"{name}: a {kind} that ends in _total"
        if kind not in _SUMMED and name.endswith(("_count", "_sum", "_bucket")):
            yield f"{name}: a {kind} with a summary's suffix"
        for word in ("gauge", "counter", "summary", "histogram"):
            if word in name.split("_"):
                yield f"{name}: its type in its name"
        for sample in family.samples:
            if "quantile" in sample.labels and kind != "summary":
                yield f"{name}: a {kind} with quantiles"
            if sample.value != sample.value:
                yield f"{sample.name}{sample.labels}: not a number"
