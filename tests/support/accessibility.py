"""What axe-core finds on the page that a browser shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """
const [only, done] = [arguments[0], arguments[1]];
const options = {resultTypes: ['violations'], ...(only ? {runOnly: {type: 'rule', values: only}} : {})};
axe.run({exclude: ['#swagger-ui']}, options)
  .then(found => done(found.violations), error => done(String(error)));
"""


def violations(page: Any, *, rules: list[str] | None = None) -> list[str]:
    """Serious and critical ones of all rules, or of `rules`, each with the first elements it names.

    What Swagger UI draws is its own: of the API's page only what is around it is looked at.
    """
    if not page.execute_script("return typeof axe !== 'undefined'"):
        page.execute_script(AXE.read_text())
    found = page.execute_async_script(_RUN, rules)
    assert isinstance(found, list), found
    return [
        f"{one['id']} ({one['impact']}): {'; '.join(node['html'][:200] for node in one['nodes'][:3])}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
