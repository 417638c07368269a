"""What operators do for a person: hand out what is held about a user, and erase it."""

import typer

from metering_service.cli.run import run
from metering_service.privacy.personal_data import erase_user, export_user
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, OfClient, OfUser, Sure, show, show_json
from service_chassis.cli.usage import Commands
from service_chassis.clock import system_clock
from service_chassis.database.pool import UNHURRIED

commands = Commands(help="Export or erase what is held about one user.", no_args_is_help=True)


@commands.command("export")
def export(client_id: OfClient, user_id: OfUser) -> None:
    """Print all that is held about a user, as JSON: charges, holds, quotas, refusals, notices."""
    show_json(
        run(
            lambda pool: export_user(pool, client_id, user_id, now=system_clock()),
            command="users",
            settings=UNHURRIED,
        )
    )


@commands.command("erase")
def erase(client_id: OfClient, user_id: OfUser, sure: Sure = False, as_json: AsJson = False) -> None:
    """Take the user's id out of all events, after the activity service did; what was charged stays charged.

    A request under way may bring the id back: run both commands again until they find nothing, exit code 1.
    """
    if not sure:
        typer.confirm("Erase this user's id in this service? It cannot be undone.", abort=True)
    events = run(
        lambda pool: erase_user(pool, client_id, user_id, now=system_clock(), actor=ACTOR),
        command="users",
        settings=UNHURRIED,
    )
    show({"events": events}, as_json)
