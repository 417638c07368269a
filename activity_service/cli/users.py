"""What operators do for a person: hand out what is held about a user, and erase it."""

import sys
from dataclasses import asdict

import typer

from activity_service.privacy.personal_data import erase_user, export_user
from activity_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, OfClient, OfUser, Sure, run_with_pool, show_json, show_table
from service_chassis.clock import system_clock
from service_chassis.database.pool import UNHURRIED
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import read_settings

users = typer.Typer(help="Export or erase what is held about one user.", no_args_is_help=True)

_APPLICATION_NAME = "activity_service users"


@users.command("export")
def export(client_id: OfClient, user_id: OfUser) -> None:
    """Print all that is held about a user, as JSON."""
    _log_beside_the_output()
    show_json(
        run_with_pool(
            read_settings(DatabaseSettings).postgres_dsn,
            lambda pool: export_user(pool, client_id, user_id, clock=system_clock),
            application_name=_APPLICATION_NAME,
            settings=UNHURRIED,
        )
    )


@users.command("erase")
def erase(
    client_id: OfClient,
    user_id: OfUser,
    sure: Sure = False,
    as_json: AsJson = False,
) -> None:
    """Take the person out of the user's plays, which stay as facts; what was charged stays charged.

    Refuses while one of the user's events is not charged yet. Metering keeps the id until its own `users erase`.
    A request under way may bring the person back: run both commands again until they count nothing.
    """
    if not sure:
        typer.confirm("Erase this user's email, name, photo and id in this service? It cannot be undone.", abort=True)
    _log_beside_the_output()
    erasure = run_with_pool(
        read_settings(DatabaseSettings).postgres_dsn,
        lambda pool: erase_user(pool, client_id, user_id),
        application_name=_APPLICATION_NAME,
        settings=UNHURRIED,
    )
    names = {"pseudonym": "pseudonym", "plays": "planPlays", "kept_answers": "keptAnswers"}
    names["billable_events"] = "billableEvents"
    changed = {names[name]: value for name, value in asdict(erasure).items()}
    if as_json:
        show_json(changed)
    else:
        show_table([changed], {name: name for name in changed})


def _log_beside_the_output() -> None:
    """Send the audit's line to standard error: standard output is the answer."""
    configure_logging("info", "activity_service", sys.stderr.buffer)
