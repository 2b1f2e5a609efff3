"""Capability scores: browsers across, model types down; what nobody knows is hatched and says so."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.safestring import SafeString, mark_safe

from history.charts import svg
from history.models import CapabilityScore

_CELL_WIDTH, _CELL_HEIGHT, _LEFT, _TOP = 158, 64, 130, 28
_HATCHES = mark_safe(
    '<defs><pattern id="hp-hatch" width="8" height="8" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="8" class="hp-hatch"/></pattern></defs>'
)


def draw(
    scores: Sequence[CapabilityScore], browsers: Sequence[str], model_types: Sequence[str]
) -> SafeString:
    """A cell per browser and model type: score, interval, sample size and time, or unknown."""
    by_place = {(score.browser, score.model_type): score for score in scores}
    parts: list[SafeString] = [_HATCHES]
    for column, browser in enumerate(browsers):
        middle = _LEFT + column * _CELL_WIDTH + _CELL_WIDTH / 2
        parts.append(svg.text(middle, 16, browser, kind="hp-name", anchor="middle"))
    for row, model_type in enumerate(model_types):
        y = _TOP + row * _CELL_HEIGHT
        label = svg.text(
            _LEFT - 12, y + _CELL_HEIGHT / 2 + 4, model_type, kind="hp-name", anchor="end"
        )
        parts.append(label)
        for column, browser in enumerate(browsers):
            x = _LEFT + column * _CELL_WIDTH
            parts += _cell(by_place.get((browser, model_type)), x + 2, y + 2)
    width = _LEFT + len(browsers) * _CELL_WIDTH
    height = _TOP + len(model_types) * _CELL_HEIGHT
    return svg.picture("scores", width, height, "Capability scores, 0 to 100", parts)


def _cell(score: CapabilityScore | None, x: float, y: float) -> list[SafeString]:
    width, height = _CELL_WIDTH - 4, _CELL_HEIGHT - 4
    middle = x + width / 2
    if score is None:
        return [
            svg.rect(x, y, width, height, "hp-cell hp-cell-unknown", "not measured"),
            svg.text(middle, y + height / 2 + 4, "unknown", kind="hp-dim", anchor="middle"),
        ]
    # Five steps of colour; the number says the rest.
    step = min(4, int(score.score // 20))
    title = (
        f"{score.browser}, {score.model_type}: {score.score:.1f} ({score.low:.1f} to {score.high:.1f}), "
        f"confidence {score.confidence:.2f}, {score.sample_size} samples, computed "
        f"{score.timestamp:%Y-%m-%d %H:%M} UTC"
    )
    interval = f"{score.low:.0f}–{score.high:.0f} · n = {score.sample_size}"
    return [
        svg.rect(x, y, width, height, f"hp-cell hp-cell-{step}", title),
        svg.text(middle, y + 22, f"{score.score:.0f}", kind="hp-score", anchor="middle"),
        svg.text(middle, y + 38, interval, kind="hp-cell-text", anchor="middle"),
        svg.text(
            middle, y + 52, f"{score.timestamp:%d %b %H:%M}", kind="hp-cell-text", anchor="middle"
        ),
    ]
