"""What operators do for a person: hand out what is held about a user, and erase it."""

import sys
from collections.abc import Awaitable, Callable

import typer

from activity_service.privacy.personal_data import PersonalData
from activity_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, OfClient, OfUser, Result, Sure, run_with_pool, show, show_json
from service_chassis.database.pool import UNHURRIED
from service_chassis.operations.logging import configure_logging

commands = typer.Typer(help="Export or erase what is held about one user.", no_args_is_help=True)


@commands.command("export")
def export(client_id: OfClient, user_id: OfUser) -> None:
    """Print all that is held about a user, as JSON."""
    show_json(_run(lambda data: data.export(client_id, user_id)))


@commands.command("erase")
def erase(client_id: OfClient, user_id: OfUser, sure: Sure = False, as_json: AsJson = False) -> None:
    """Take the person out of the user's plays, which stay as facts; what was charged stays charged.

    Refuses while one of the user's events is not charged yet. Metering keeps the id until its own `users erase`.
    A request under way may bring the person back: run both commands again until they count nothing.
    """
    if not sure:
        typer.confirm("Erase this user's email, name, photo and id in this service? It cannot be undone.", abort=True)
    erasure = _run(lambda data: data.erase(client_id, user_id))
    show(
        {
            "pseudonym": erasure.pseudonym,
            "planPlays": erasure.plays,
            "billableEvents": erasure.billable_events,
        },
        as_json,
    )


def _run(work: Callable[[PersonalData], Awaitable[Result]]) -> Result:
    # The trace that it was done goes to standard error: standard output is what was asked for.
    configure_logging("info", "activity_service", sys.stderr.buffer)
    return run_with_pool(
        DatabaseSettings, lambda pool: work(PersonalData(pool)), command="activity_service users", settings=UNHURRIED
    )
