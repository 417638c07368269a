"""What a run shows: figures on the left and kills on the right, live; plain lines where there is no terminal."""

import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from local_stack.errors import StackError
from prove.counting import Count

KILL_LINES = 18
"""Two for each of the nine things that are done to the product; with frame and prompt they fit 24 lines."""
PLAIN_SECONDS = 5.0
"""How often the figures are printed where there is no terminal."""
FIGURES = (
    ("sent", "requests sent"),
    ("acknowledged", "acknowledged"),
    ("refused", "refused: nothing left"),
    ("unanswered", "no answer: asked again"),
    ("charged", "charged"),
    ("under_way", "charge under way"),
)
FAULTS = (
    ("oversold", "oversold"),
    ("charged_twice", "charged twice"),
    ("lost", "lost: a play, or its charge"),
)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Raise StackError where rich would end us with exit code 1, which here says that something is not sound."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise StackError("nobody reads what is shown any more") from None


class Display:
    """Shows one shop after another, between begin() and end()."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Terminal()
        self._live: Live | None = None
        self._name = ""
        self._count = Count()
        self._kills: deque[str] = deque(maxlen=KILL_LINES)
        self._began = self._printed = 0.0

    def say(self, text: str = "") -> None:
        """Print a line, or several."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str) -> None:
        """Show a shop from now on."""
        self._name, self._count = name, Count()
        self._kills.clear()
        self._began = self._printed = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(self._frame(), console=self._console, auto_refresh=False)
            self._live.start()

    def note(self, line: str) -> None:
        """Show what is done to the shop, as it happens."""
        self._kills.append(f"{time.monotonic() - self._began:5.1f} s  {line}")
        if self._live is None:
            self.say(f"  {self._kills[-1]}")
        self._refresh()

    def show(self, count: Count) -> None:
        """Show the figures of now."""
        self._count = count
        if self._live is None and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.say(f"  {self._printed - self._began:5.1f} s  {self._sentence()}")
        self._refresh()

    def end(self, count: Count) -> None:
        """Leave the figures of the end on the screen."""
        self._count = count
        if self._live is None:
            self.say(f"  at rest  {self._sentence()}")
        self.close()

    def close(self) -> None:
        """Stop being live; fine when it is not."""
        if self._live is not None:
            self._refresh()
            self._live.stop()
            self._live = None

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)

    def _sentence(self) -> str:
        figures = ", ".join(f"{name.replace('_', ' ')} {getattr(self._count, name):,}" for name, _ in FIGURES)
        return f"{figures}; {self._count.verdict}"

    def _frame(self) -> Group:
        figures = Table.grid(padding=(0, 2))
        figures.add_column(justify="right", min_width=7)
        figures.add_column()
        for name, words in FIGURES:
            figures.add_row(f"{getattr(self._count, name):,}", words)
        figures.add_row()
        for name, words in FAULTS:
            number = getattr(self._count, name)
            style = "bold red" if number else "bold green"
            figures.add_row(Text(f"{number:,}", style), Text(words, style))
        kills = Text("\n".join(self._kills) + "\n" * (KILL_LINES - len(self._kills) - 1), no_wrap=True)
        sides = Table.grid(expand=True)
        sides.add_column(width=43)
        sides.add_column(ratio=1)
        height = KILL_LINES + 2
        sides.add_row(
            Panel(figures, title=self._name, title_align="left", height=height),
            Panel(kills, title="meanwhile", title_align="left", height=height),
        )
        return Group(sides)
