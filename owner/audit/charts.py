"""Pictures and curves for a report, as text that needs no other file: PNG in base64, SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_GAP = 2
_WIDTH, _PLOT = 320, 140
_LEFT, _RIGHT, _TOP = 34, 12, 12


def strip(pictures: Tensor, alternative: str) -> str:
    """Pictures (n, channels, height, width), values 0 .. 1, side by side as one <img>."""
    padded = torch.nn.functional.pad(pictures, (0, _GAP, 0, 0), value=1.0)
    levels = (torch.cat(list(padded), dim=2)[:, :, :-_GAP] * 255).round().clamp(0, 255).to(torch.uint8)
    # Gaps are transparent, whatever the page's background is.
    side = pictures.shape[3] + _GAP
    alpha = np.full(levels.shape[1:], 255, np.uint8)
    alpha[:, np.arange(levels.shape[2]) % side >= pictures.shape[3]] = 0
    planes = levels.expand(3, -1, -1) if len(levels) == 1 else levels
    file = io.BytesIO()
    Image.fromarray(np.dstack([*planes.numpy(), alpha])).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img class="strip" alt="{escape(alternative)}" src="data:image/png;base64,{data}">'


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: a value 0 .. 1 a place; band: lower and upper ends around it."""

    name: str
    colour: str
    values: Sequence[float]
    band: Sequence[tuple[float, float]] | None = None
    dashed: bool = False


def line_chart(title: str, places: Sequence[str], lines: Sequence[Line]) -> str:
    """Curves over named places, with a legend; as wide as its column."""
    inner = _WIDTH - _LEFT - _RIGHT
    height = _TOP + _PLOT + 22 + round(4.6 * max(map(len, places)))
    step = inner / max(1, len(places) - 1)
    across = [_LEFT + (step * i if len(places) > 1 else inner / 2) for i in range(len(places))]

    def down(value: float) -> float:
        return _TOP + (1 - min(1.0, max(0.0, value))) * _PLOT

    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down(v):.1f}" y2="{down(v):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{down(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    for x, place in zip(across, places, strict=True):
        y = _TOP + _PLOT + 12
        parts.append(
            f'<text class="tick" transform="translate({x + 3:.1f},{y}) rotate(-50)" text-anchor="end">'
            f"{escape(place)}</text>"
        )
    for line in lines:
        if line.band:
            upper = [f"{x:.1f},{down(b[1]):.1f}" for x, b in zip(across, line.band, strict=True)]
            lower = [f"{x:.1f},{down(b[0]):.1f}" for x, b in zip(across, line.band, strict=True)]
            points = " ".join(upper + lower[::-1])
            parts.append(f'<polygon points="{points}" fill="{line.colour}" opacity="0.18"/>')
        points = " ".join(f"{x:.1f},{down(v):.1f}" for x, v in zip(across, line.values, strict=True))
        dash = ' stroke-dasharray="4 3"' if line.dashed else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}/>'
        )
        if not line.dashed:
            parts += [
                f'<circle cx="{x:.1f}" cy="{down(v):.1f}" r="2.6" fill="{line.colour}"/>'
                for x, v in zip(across, line.values, strict=True)
            ]
    legend = "".join(
        f'<span><i style="background:{line.colour}"></i>{escape(line.name)}</span>' for line in lines
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg><div class="legend">{legend}</div></figure>'
    )
