"""What the charts are drawn from: shapes in a box of 100 high and 10 a day wide, stretched by the page. Pure.

Texts stand beside the drawing, not in it, so that they keep their size on every screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from metering_service.clients.client import BalanceDay
from metering_service.console.formats import format_number, format_signed
from metering_service.usage.usage import Usage

DAY_WIDTH = 10
BAR_WIDTH = 7
MOST_SERIES = 6
"""Colours that can be told apart; what is more is summed up."""
OTHERS = "all others"


@dataclass(frozen=True, slots=True)
class Shape:
    """A rectangle, or a vertical line of a `kind`, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Shapes, a line's points, what the left axis says from top to bottom, the days below, and what is drawn."""

    width: int
    shapes: Sequence[Shape]
    axis: Sequence[str]
    days: Sequence[str]
    series: Sequence[str]
    points: str = ""
    area: str = ""


def draw_usage(usage: Usage, days: Sequence[date], types: Sequence[str]) -> Chart:
    """Return stacked bars of charged events by day and type; `types` are those shown, in order."""
    by_day = group_usage(usage, types)
    top = _round_up(max((sum(of_day.values()) for of_day in by_day.values()), default=0))
    shapes = []
    for number, day in enumerate(days):
        y = 100.0
        for place, event_type in enumerate(types):
            charged = by_day.get(day, {}).get(event_type, 0)
            if charged:
                height = charged / top * 100
                y -= height
                title = f"{day}: {format_number(charged)} {event_type}"
                shapes.append(Shape(number * DAY_WIDTH + 1.5, y, BAR_WIDTH, height, f"series-{place}", title))
    return Chart(len(days) * DAY_WIDTH, shapes, _label_axis(0, top), _label_days(days), types)


def choose_types(usage: Usage) -> list[str]:
    """Return the event types of a chart, the most charged first; the last stands for all others if there are many."""
    sums: dict[str, int] = {}
    for each in usage.sums:
        if each.charged:
            sums[str(each.group)] = sums.get(str(each.group), 0) + each.charged
    types = sorted(sums, key=lambda event_type: (-sums[event_type], event_type))
    return types if len(types) <= MOST_SERIES else [*types[: MOST_SERIES - 1], OTHERS]


def group_usage(usage: Usage, types: Sequence[str]) -> dict[date, dict[str, int]]:
    """Return how many events were charged by day and type, of types that are not shown as OTHERS."""
    by_day: dict[date, dict[str, int]] = {}
    for each in usage.sums:
        event_type = str(each.group) if each.group in types else OTHERS
        of_day = by_day.setdefault(each.window, {})
        of_day[event_type] = of_day.get(event_type, 0) + each.charged
    return by_day


def draw_balance(days: Sequence[BalanceDay]) -> Chart:
    """Return a stepped line of what was left at each day's end, and lines where credits were given and where lost."""
    left = [each.left for each in days]
    top, bottom = _round_up(max(0, *left)), -_round_up(-min(left)) if min(left) < 0 else 0
    scale = 100 / (top - bottom)

    def place(value: int) -> float:
        return round(100 - (value - bottom) * scale, 2)

    steps = []
    for number, value in enumerate(left):
        steps += [f"{number * DAY_WIDTH},{place(value)}", f"{(number + 1) * DAY_WIDTH},{place(value)}"]
    width = len(days) * DAY_WIDTH
    zero = place(0)
    shapes = []
    for number, each in enumerate(days):
        for kind, lines in (("given", each.added), ("lost", each.taken)):
            if lines:
                what = ", ".join(f"{format_signed(credits)} {name}" for name, credits in lines.items())
                x = number * DAY_WIDTH + (0 if kind == "given" else 1)
                shapes.append(Shape(x, 0, 0, 100, kind, f"{each.day}: {what}"))
    return Chart(
        width,
        shapes,
        _label_axis(bottom, top),
        _label_days([each.day for each in days]),
        [],
        points=" ".join(steps),
        area=f"0,{zero} {' '.join(steps)} {width},{zero}",
    )


def _round_up(value: int) -> int:
    """Return the next number that an axis can end with, and be halved."""
    step = int(10 ** (len(str(value)) - 1))
    tenths = next(tenths for tenths in (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100) if tenths * step >= value * 10)
    return max(2, tenths * step // 10 + (tenths * step // 10) % 2)


def _label_axis(bottom: int, top: int) -> list[str]:
    return [format_number(top), format_number((top + bottom) // 2), format_number(bottom)]


def _label_days(days: Sequence[date]) -> list[str]:
    return [f"{day:%d %b}" for day in (days[0], days[len(days) // 2], days[-1])]
