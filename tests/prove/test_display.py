"""What a run shows is what was counted and done."""

import io

from rich.console import Console

from prove.counting import Count
from prove.display import Display

WRONG = Count(sent=40, acknowledged=20, charged=23, oversold=7, charged_twice=3, lost=2)


def show(*, is_terminal: bool) -> str:
    screen = io.StringIO()
    display = Display(Console(file=screen, force_terminal=is_terminal, width=100, color_system=None))
    display.begin("this product")
    display.note("kill -9  metering")
    display.end(WRONG)
    return screen.getvalue()


def test_a_terminal_shows_figures_beside_kills() -> None:
    last_frame = show(is_terminal=True).rpartition("this product")[2]
    rows = [line.split("│") for line in last_frame.splitlines() if "│" in line]
    figures = [" ".join(row[1].split()) for row in rows]
    assert figures[0] == "40 requests sent"
    assert "kill -9  metering" in rows[0][3]
    assert {"7 oversold", "3 charged twice", "2 lost: a play, or its charge"} <= set(figures)


def test_plain_lines_say_the_same_without_control_characters() -> None:
    shown = show(is_terminal=False)
    assert "kill -9  metering" in shown
    assert "oversold 7, charged twice 3, lost 2" in shown
    assert "\x1b" not in shown
