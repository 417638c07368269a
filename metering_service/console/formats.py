"""How values are written on the pages."""

from datetime import datetime, timedelta
from typing import Any

_MINUS = "\u2212"


def format_number(value: int | float) -> str:
    """Return an integer with separators between thousands, or a rate with as many digits as it says something by."""
    if isinstance(value, int):
        return f"{value:,}".replace("-", _MINUS)
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def format_signed(value: int) -> str:
    """Return an integer that says that something was added, or taken."""
    return f"+{value:,}" if value > 0 else format_number(value)


def format_moment(value: datetime) -> str:
    """Return a moment of UTC to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def format_age(value: timedelta) -> str:
    """Return a span of time in its largest unit."""
    seconds = int(value.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


CODES = {
    "api_rate_limited": "rate",
    "api_quota_exceeded": "quota",
    "api_balance_exhausted": "balance",
    "event_type_not_sold": "not sold",
}
"""Codes of refusals in a word."""

FILTERS: dict[str, Any] = {
    "number": format_number,
    "signed": format_signed,
    "moment": format_moment,
    "age": format_age,
    "code": lambda code: CODES.get(code, code),
}
