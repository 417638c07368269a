"""Time as a value that is passed in, so that rules about time can be tried without waiting."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment as an aware datetime in UTC."""


def system_clock() -> datetime:
    """Return the machine's own time, in UTC."""
    return datetime.now(UTC)
