"""Draw a report's figures as SVG: lines, bars and intervals, coloured by the page's style sheet.

Each function returns one `<svg>` element, well-formed, with its texts escaped and a `<title>` that says it in words.
Colours are classes, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from agents.pages.page import plain

WIDTH = 720  # user units; the page scales the drawing to its column
LEFT, RIGHT, TOP = 104, 88, 12  # room for the labels on either side
ROW = 34
CURVE_HEIGHT = 260
BOTTOM = 40
POINTS = 240  # points drawn of a curve: more than the eye resolves over 500 units, few enough for a small page


@dataclass(frozen=True)
class Bar:
    """One bar with its interval; `tone` is better, worse or unsure, `label` and `says` are texts beside it."""

    label: str
    value: float
    low: float
    high: float
    tone: str
    says: str


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from below `low` to above `high`."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [round(n * step, 10) for n in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means of equal stretches of the list."""
    if len(points) <= most:
        return list(points)
    cuts = [round(n * len(points) / most) for n in range(most + 1)]
    stretches = [points[a:b] for a, b in itertools.pairwise(cuts) if b > a]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in stretches]


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each point as the mean of its neighbourhood, one twelfth of the curve wide."""
    reach = len(points) // 24
    windows = [points[max(0, n - reach) : n + reach + 1] for n in range(len(points))]
    return [(x, sum(y for _, y in part) / len(part)) for (x, _), part in zip(points, windows, strict=True)]


def curve(points: Sequence[tuple[float, float]], title: str, across: str) -> str:
    """A line over its axis: faint as measured, strong as smoothed; the last value is written at its end."""
    shown = thin(points)
    xs, ys = ticks(shown[0][0], shown[-1][0]), ticks(min(y for _, y in shown), max(y for _, y in shown))
    if shown[-1][0] > shown[0][0]:  # ticks before the first and past the last step would leave an empty margin
        xs = [x for x in xs if shown[0][0] <= x <= shown[-1][0]] or [shown[0][0]]
    at_x = scale(min(xs[0], shown[0][0]), max(xs[-1], shown[-1][0]), LEFT, WIDTH - RIGHT)
    at_y = scale(ys[0], ys[-1], CURVE_HEIGHT - BOTTOM, TOP)
    parts = [line(LEFT, at_y(y), WIDTH - RIGHT, at_y(y), "grid") for y in ys]
    parts += [text(LEFT - 8, at_y(y) + 4, f"{y:g}", "end") for y in ys]
    parts += [text(at_x(x), CURVE_HEIGHT - BOTTOM + 18, f"{x:g}", "middle") for x in xs]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, CURVE_HEIGHT - 4, across, "middle", "soft"))
    for name, drawn in (("faint", shown), ("strong", smooth(shown))):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in drawn)
        parts.append(f'<polyline class="{name}" points="{path}"/>')
    parts.append(text(WIDTH - RIGHT + 8, at_y(smooth(shown)[-1][1]) + 4, f"{points[-1][1]:.2f}", "start", "bold"))
    return svg(CURVE_HEIGHT, title, parts)


def intervals(bars: Sequence[Bar], title: str, across: str) -> str:
    """Horizontal bars from 0, each with its interval as a whisker."""
    axis = ticks(min(0.0, *(bar.low for bar in bars)), max(0.0, *(bar.high for bar in bars)))
    at_x = scale(axis[0], axis[-1], LEFT, WIDTH - RIGHT)
    bottom = TOP + ROW * len(bars)
    parts = axis_below(axis, at_x, bottom, across)
    for n, bar in enumerate(bars):
        middle = TOP + ROW * n + ROW / 2
        start, end = sorted((at_x(0), at_x(bar.value)))
        parts.append(box(start, middle - 8, end - start, 16, bar.tone))
        parts.append(line(at_x(bar.low), middle, at_x(bar.high), middle, "whisker"))
        parts += [line(at_x(end), middle - 5, at_x(end), middle + 5, "whisker") for end in (bar.low, bar.high)]
        parts.append(text(LEFT - 8, middle + 4, bar.label, "end"))
        parts.append(text(WIDTH - RIGHT + 8, middle + 4, bar.says, "start", "bold"))
    parts.append(line(at_x(0), TOP, at_x(0), bottom, "zero"))
    return svg(bottom + BOTTOM, title, parts)


def pairs(rows: Sequence[tuple[str, float, float]], title: str, across: str, full: float = 1.0) -> str:
    """Two bars per row, base above specialist, each with its value; rows are (label, base, specialist).

    The axis reaches to `full` at least, so that a small score looks small.
    """
    axis = ticks(min(0.0, *(min(a, b) for _, a, b in rows)), max(full, *(max(a, b) for _, a, b in rows)))
    at_x = scale(axis[0], axis[-1], LEFT, WIDTH - RIGHT)
    height = ROW + 8
    bottom = TOP + height * len(rows)
    parts = axis_below(axis, at_x, bottom, across)
    for n, (label, base, specialist) in enumerate(rows):
        top = TOP + height * n + 6
        parts.append(text(LEFT - 8, top + 19, label, "end"))
        for shift, value, tone in ((0, base, "base"), (16, specialist, "specialist")):
            start, end = sorted((at_x(0), at_x(value)))
            parts.append(box(start, top + shift, max(end - start, 1), 14, tone))
            parts.append(text(end + 6, top + shift + 11, f"{value:.2f}", "start", "small"))
    parts.append(line(at_x(0), TOP, at_x(0), bottom, "zero"))
    return svg(bottom + BOTTOM, title, parts)


def axis_below(axis: Iterable[float], at_x: Scale, bottom: float, across: str) -> list[str]:
    parts = [text((LEFT + WIDTH - RIGHT) / 2, bottom + BOTTOM - 4, across, "middle", "soft")]
    for x in axis:
        parts.append(line(at_x(x), TOP, at_x(x), bottom, "grid"))
        parts.append(text(at_x(x), bottom + 17, f"{x:g}", "middle"))
    return parts


@dataclass(frozen=True)
class Scale:
    """A linear map from data to drawing."""

    low: float
    per_unit: float
    start: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.per_unit


def scale(low: float, high: float, start: float, end: float) -> Scale:
    return Scale(low, (end - start) / ((high - low) or 1.0), start)


def svg(height: float, title: str, parts: Iterable[str]) -> str:
    said = escape(plain(title))
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{said}"><title>{said}</title>'
    return head + "".join(parts) + "</svg>"


def line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: float, y: float, width: float, height: float, name: str) -> str:
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def text(x: float, y: float, said: str, anchor: str, name: str = "label") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(plain(said))}</text>'
