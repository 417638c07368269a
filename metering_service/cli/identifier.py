"""The ids that operators give, held to what calls of the API accept."""

from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

import typer

from metering_service.policies.policy import WRONG_IDENTIFIER, WRONG_NOTE, is_identifier, is_note

MOMENTS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"]
"""How operators write moments: all of them are UTC."""
_DAYS = ["%Y-%m-%d"]
FromDay = Annotated[
    datetime | None, typer.Option("--from", formats=_DAYS, help="The first day, UTC; without, of this month.")
]
ToDay = Annotated[
    datetime | None, typer.Option("--to", formats=_DAYS, help="The day after the last one; without, tomorrow.")
]


Text = TypeVar("Text", str, str | None)
Moment = TypeVar("Moment", datetime, datetime | None)


def read_moment(moment: Moment) -> Moment:
    """Return the moment of an option as one of UTC."""
    return moment and moment.replace(tzinfo=UTC)


def read_day(moment: datetime | None) -> date | None:
    """Return the day of an option."""
    return moment and moment.date()


def read_identifier(text: Text) -> Text:
    """Return `text`, None where nothing is said. Raises BadParameter for what is no id."""
    if text is not None and not is_identifier(text):
        raise typer.BadParameter(WRONG_IDENTIFIER)
    return text


def read_note(text: str | None) -> str | None:
    """Return `text`. Raises BadParameter for what calls of the API would not take for a note."""
    if text is not None and not is_note(text):
        raise typer.BadParameter(WRONG_NOTE)
    return text


ClientId = Annotated[str, typer.Argument(help="The client's id.", callback=read_identifier)]
PolicyId = Annotated[str, typer.Argument(help="The policy's id.", callback=read_identifier)]
Create = Annotated[bool, typer.Option("--create", help="Also for a client that metering has never heard of.")]
