"""A comparison as JUnit's XML: a case per cell, so that CI shows which browser fails and why."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

from inference.core.comparisons.cells import CellState
from inference.documents import JsonView

_TAGS: Final = {
    CellState.WRONG.value: "failure",
    CellState.FAILED.value: "error",
    CellState.UNTRIED.value: "skipped",
    CellState.NOT_JUDGED.value: "skipped",
}
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(document: JsonView) -> bytes:
    """The document of `report`, as a file of UTF-8."""
    cells = document["cells"]
    counts = dict.fromkeys(("failure", "error", "skipped"), 0)
    suite = ET.Element("testsuite", name=f"webpool compare {document['model']}")
    for cell in cells:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{document['model']}.{cell['browser']}",
            name=_text(f"{cell['name']} ({cell['version']})"),
            time=f"{sum(cell['samples_ms']) / 1000:.6f}",
        )
        if tag := _TAGS.get(cell["state"]):
            counts[tag] += 1
            told = ET.SubElement(case, tag, message=_text(_headline(cell)))
            told.text = _text(cell["reason"])
        out = ET.SubElement(case, "system-out")
        out.text = _text(_facts(cell))
    suite.set("tests", str(len(cells)))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(counts[tag]))
    suite.set("timestamp", document["created_at"])
    suites = ET.Element("testsuites")
    suites.append(suite)
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))


def _headline(cell: JsonView) -> str:
    operator = f" at {cell['operator']}" if cell["operator"] else ""
    first = next(iter(cell["reason"].splitlines()), "")
    return f"{cell['state']}{operator}: {first}"


def _facts(cell: JsonView) -> str:
    names = (
        "median_ms",
        "p95_ms",
        "first_ms",
        "load_ms",
        "memory_mb",
        "largest_difference",
        "nodes",
    )
    return "\n".join(f"{name}: {cell[name]}" for name in names)


def _text(text: str) -> str:
    """Without the characters that XML cannot carry."""
    return _NOT_XML.sub("\ufffd", text)
