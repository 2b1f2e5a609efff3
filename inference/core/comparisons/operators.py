"""The operator that an error of onnxruntime names, where it names one."""

from __future__ import annotations

import re
from typing import Final

# As onnxruntime 1.2x and onnxruntime-web say it; the first that matches counts.
_FORMS: Final = (
    re.compile(r"implementation for (?P<op>\w+)\(\d+\) node with name '(?P<node>[^']*)'"),
    re.compile(r"Provider type for (?P<op>\w+) node with name '(?P<node>[^']*)'"),
    re.compile(r"running (?P<op>\w+) node\. Name:\s*'(?P<node>[^']*)'"),
    re.compile(r"kernel for (?:the )?(?:node )?(?P<op>[A-Z]\w+)"),
    re.compile(r"[Kk]ernel not found for (?P<op>\w+)"),
    re.compile(r"[Oo]p(?:erator)?(?: type)?:? ?['\"\[](?P<op>[A-Z]\w+)['\"\]]"),
    re.compile(r"\[(?P<op>[A-Z]\w+)\] "),
)


def operator_at_fault(error: str) -> str:
    """`MatMul`, or `MatMul (node 'first')`; empty where no operator is named."""
    for form in _FORMS:
        if found := form.search(error):
            node = found.groupdict().get("node")
            return f"{found['op']} (node {node!r})" if node else found["op"]
    return ""
