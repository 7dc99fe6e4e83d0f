"""Plots as inline SVG. Colours are the page's (CSS classes), so that light and dark are one drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH = 400
"""Units of a wide plot; a small one has :data:`SMALL`. A unit is about a pixel: text is as large as the page's."""

SMALL = 300
POINTS = 240
"""A curve is drawn with at most so many points."""

_TIMES = ((1, "s"), (60, "min"), (3600, "h"))


class _Drawing:
    """Collects shapes; text is escaped, numbers are rounded to a tenth of a unit."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.parts: list[Markup] = [
            Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, title)
        ]

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
        self.parts.append(line.format(kind, x1, y1, x2, y2))

    def dot(self, kind: str, x: float, y: float, radius: float, title: str = "") -> None:
        dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
        self.parts.append(dot.format(kind, x, y, radius, title))

    def text(self, x: float, y: float, words: str, kind: str = "", *, most: int = 999) -> None:
        short = words if len(words) <= most else f"{words[: most - 1]}…"
        text = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}')
        self.parts.append(text.format(kind, x, y, short))
        self.parts.append(Markup("<title>{}</title></text>").format(words) if short != words else Markup("</text>"))

    def path(self, kind: str, points: Sequence[tuple[float, float]]) -> None:
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, steps))

    def done(self) -> Markup:
        return Markup("").join([*self.parts, Markup("</svg>")])


@dataclass(frozen=True)
class Bar:
    """A method's gain: one number a seed, their mean, and their standard deviation (None for one seed)."""

    name: str
    values: tuple[float, ...]
    mean: float
    spread: float | None
    verdict: str
    cost: float | None = None  # seconds


def gain_plot(bars: Sequence[Bar]) -> Markup:
    """A row a method: a dot a seed, the mean, and a bar of one standard deviation to either side."""
    row, left, right, top = 32, 134, 56, 26
    height = top + row * len(bars) + 34
    drawing = _Drawing(WIDTH, height, f"Gain of {len(bars)} methods")
    low, high = _range([0.0, *(value for bar in bars for value in _reach(bar))])
    ticks = linear_ticks(low, high, 5)
    scale = _scale(low, high, left, WIDTH - right)
    bottom = top + row * len(bars)
    for tick in ticks:
        drawing.line("grid", scale(tick), top, scale(tick), bottom)
        drawing.text(scale(tick), bottom + 16, signed(tick, _digits(ticks)), "tick middle")
    drawing.line("zero", scale(0), top - 4, scale(0), bottom)
    drawing.text(scale(0), top - 10, "shots alone", "tick middle")
    for number, bar in enumerate(bars):
        y = top + row * (number + 0.5)
        drawing.text(left - 14, y + 4, bar.name, "name end", most=18)
        drawing.line(f"stem {bar.verdict}", scale(0), y, scale(bar.mean), y)
        if bar.spread is not None:
            drawing.line(f"spread {bar.verdict}", scale(bar.mean - bar.spread), y, scale(bar.mean + bar.spread), y)
        for value in bar.values:
            drawing.dot(f"seed {bar.verdict}", scale(value), y, 3, signed(value))
        drawing.dot(f"mean {bar.verdict}", scale(bar.mean), y, 5.5, f"{bar.name}: {signed(bar.mean)}")
        drawing.text(WIDTH, y + 4, signed(bar.mean), "value end")
    return drawing.done()


def cost_plot(bars: Sequence[Bar]) -> Markup:
    """Gain against seconds (logarithmic when they differ by more than 20), a labelled dot a method."""
    known = [(bar, bar.cost) for bar in bars if bar.cost is not None and bar.cost > 0]
    if not known:
        return Markup("")
    height, left, right, top, bottom = 300, 52, 18, 26, 256
    drawing = _Drawing(WIDTH, height, "Gain against the seconds it costs")
    low, high = _range([0.0, *(value for bar, _ in known for value in (bar.mean, *_spread_of(bar)))])
    y_of = _scale(low, high, bottom, top)
    seconds = [cost for _, cost in known]
    first, last = min(seconds) / 1.6, max(seconds) * 1.6
    logarithmic = max(seconds) > 20 * min(seconds)
    if logarithmic:
        ticks = [(math.log(tick), words) for tick, words in time_ticks(first, last)]
        x_of = _scale(math.log(first), math.log(last), left, WIDTH - right)
    else:
        unit = _unit(last)
        ticks = [(tick * unit[0], f"{tick:g} {unit[1]}") for tick in linear_ticks(0, last / unit[0], 4)]
        x_of = _scale(0, last, left, WIDTH - right)
    for tick in (rows := linear_ticks(low, high, 5)):
        drawing.line("grid", left, y_of(tick), WIDTH - right, y_of(tick))
        drawing.text(left - 8, y_of(tick) + 4, signed(tick, _digits(rows)), "tick end")
    for value, words in ticks:
        if left <= x_of(value) <= WIDTH - right:
            drawing.line("grid", x_of(value), top, x_of(value), bottom)
            drawing.text(x_of(value), bottom + 18, words, "tick middle")
    drawing.line("zero", left, y_of(0), WIDTH - right, y_of(0))
    taken: list[tuple[float, float, float, float]] = []
    places = [(bar, x_of(math.log(cost) if logarithmic else cost), y_of(bar.mean)) for bar, cost in known]
    taken += [(x - 7, y - 7, x + 7, y + 7) for _, x, y in places]
    for bar, x, y in places:
        if bar.spread is not None:
            drawing.line(f"spread {bar.verdict}", x, y_of(bar.mean - bar.spread), x, y_of(bar.mean + bar.spread))
        drawing.dot(f"mean {bar.verdict}", x, y, 5.5, f"{bar.name}: {signed(bar.mean)}, {duration(bar.cost or 0)}")
        _label(drawing, bar.name, x, y, taken)
    drawing.text((left + WIDTH - right) / 2, height - 6, "time to fit and generate", "tick middle")
    return drawing.done()


def _label(drawing: _Drawing, name: str, x: float, y: float, taken: list[tuple[float, float, float, float]]) -> None:
    """Write a name beside its dot, on the first place where it covers nothing."""
    width = 6.9 * min(len(name), 18)
    for dy in (0, -13, 13, -26, 26, -39, 39):
        for side in (1, -1):
            left = x + 10 if side > 0 else x - 10 - width
            box = (left, y + dy - 7, left + width, y + dy + 7)
            free = all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in taken)
            if free and left >= 40 and box[2] <= WIDTH and 8 < y + dy < 256:
                taken.append(box)
                drawing.text(x + 10 * side, y + dy + 4, name, "name" if side > 0 else "name end", most=18)
                return
    drawing.text(min(x + 10, WIDTH - width), y + 4, name, "name", most=18)  # crowded: better covered than left out


def recall_plot(title: str, curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Markup:
    """Precision over recall, a line an arm: the mean over seeds of the precision at each recall."""
    height, left, right, top, bottom = 244, 34, 8, 22, 204
    drawing = _Drawing(SMALL, height, f"{title}: precision over recall")
    x_of, y_of = _scale(0, 1, left, SMALL - right), _scale(0, 1, bottom, top)
    for tick in (0.0, 0.5, 1.0):
        drawing.line("grid", left, y_of(tick), SMALL - right, y_of(tick))
        drawing.line("grid", x_of(tick), top, x_of(tick), bottom)
        drawing.text(left - 6, y_of(tick) + 4, f"{tick:g}", "tick end")
        drawing.text(x_of(tick), bottom + 16, f"{tick:g}", "tick middle" if tick < 1 else "tick end")
    drawing.text((left + SMALL - right) / 2, height - 6, "recall", "tick middle")
    drawing.text(0, 10, "precision", "tick")
    recall = np.linspace(0, 1, 101)
    for arm, seeds in curves.items():
        middle = np.mean([np.interp(recall, x, y) for x, y in seeds], axis=0)
        reached = recall <= max(x[-1] for x, _ in seeds)
        points = zip(recall[reached].tolist(), np.clip(middle[reached], 0, 1).tolist(), strict=True)
        drawing.path(f"curve {arm_class(arm)}", [(x_of(x), y_of(y)) for x, y in points])
    return drawing.done()


def loss_plot(title: str, terms: Mapping[str, Sequence[Sequence[float]]]) -> Markup:
    """Loss over steps, a colour a term, a line a fit; logarithmic where all values are above zero."""
    height, left, right, top, bottom = 232, 40, 10, 10, 192
    drawing = _Drawing(SMALL, height, f"{title}: losses")
    smooth = {name: [_smoothed(values) for values in fits if len(values)] for name, fits in terms.items()}
    heights = [value for fits in smooth.values() for _, values in fits for value in values]
    steps = max((len(values) for fits in terms.values() for values in fits), default=0)
    if not heights or steps < 2:
        return Markup("")
    logarithmic = min(heights) > 0

    def level(value: float) -> float:
        return math.log10(value) if logarithmic else value

    low, high = _range([level(value) for value in heights])
    x_of, y_of = _scale(0, steps - 1, left, SMALL - right), _scale(low, high, bottom, top)
    ticks = _log_ticks(low, high) if logarithmic else [(tick, f"{tick:g}") for tick in linear_ticks(low, high, 4)]
    for tick, words in ticks:
        drawing.line("grid", left, y_of(tick), SMALL - right, y_of(tick))
        drawing.text(left - 6, y_of(tick) + 4, words, "tick end")
    for tick in linear_ticks(0, steps - 1, 4):
        drawing.text(x_of(tick), bottom + 16, f"{tick:g}", "tick middle")
    drawing.text((left + SMALL - right) / 2, height - 6, "step", "tick middle")
    for number, fits in enumerate(smooth.values()):
        for at, values in fits:
            points = zip(at, values, strict=True)
            drawing.path(f"curve term-{number % 4}", [(x_of(x), y_of(level(y))) for x, y in points])
    return drawing.done()


def window(count: int) -> int:
    """Over how many steps a loss curve of ``count`` steps is averaged."""
    return max(1, count // 100)


def _smoothed(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Steps and running means, thinned out."""
    width = window(len(values))
    sums = np.convolve(np.asarray(values, dtype=float), np.ones(width) / width, mode="valid")
    wanted = np.unique(np.linspace(0, len(sums) - 1, min(POINTS, len(sums))).round().astype(int))
    return (wanted + (width - 1) / 2).tolist(), sums[wanted].tolist()


def arm_class(arm: str) -> str:
    """The CSS class of an arm's line."""
    return f"arm-{arm}" if arm in ("shots", "both", "synthetic") else "arm-other"


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them."""
    raw = (high - low) / max(1, count)
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(first: float, last: float) -> list[tuple[float, str]]:
    """Round times from ``first`` to ``last`` seconds, at most six."""
    found = [(float(factor * unit), f"{factor} {name}") for unit, name in _TIMES for factor in (1, 3, 10, 30)]
    found = [(10.0**-k, f"{10.0**-k:g} s") for k in (3, 2, 1)] + found + [(3600 * 100, "100 h")]
    inside = [tick for tick in found if first <= tick[0] <= last]
    return inside[:: -(-len(inside) // 6)] if inside else []


def duration(seconds: float) -> str:
    """Seconds in words people use: ``4.2 s``, ``3.5 min``, ``1.2 h``."""
    unit, name = _unit(seconds)
    value = seconds / unit
    return f"{value:.0f} {name}" if value >= 20 else f"{value:.2g} {name}"


def signed(value: float, digits: int = 3) -> str:
    """With its sign, a real minus and no negative zero."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def _unit(seconds: float) -> tuple[int, str]:
    return next((unit for unit in reversed(_TIMES) if seconds >= 1.5 * unit[0]), _TIMES[0])


def _digits(ticks: Sequence[float]) -> int:
    return next((digits for digits in range(5) if all(round(t, digits) == round(t, 9) for t in ticks)), 5)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten, with 2 and 5 between them where the range is short."""
    factors = (1.0,) if high - low > 2 else (1.0, 2.0, 5.0)
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    places = [(power + math.log10(factor), f"{factor * 10.0**power:.3g}") for power in powers for factor in factors]
    inside = [place for place in places if low <= place[0] <= high]
    if not inside:
        return [(low, f"{10**low:.3g}"), (high, f"{10**high:.3g}")]
    return inside[:: -(-len(inside) // 6)]


def _reach(bar: Bar) -> tuple[float, ...]:
    return (*bar.values, *_spread_of(bar))


def _spread_of(bar: Bar) -> tuple[float, float]:
    return bar.mean - (bar.spread or 0.0), bar.mean + (bar.spread or 0.0)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest with a little room."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or max(abs(high), 1e-3) * 0.5
    return low - room, high + room


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Maps ``low .. high`` to ``start .. end``."""
    factor = (end - start) / (high - low)
    return lambda value: start + (value - low) * factor
