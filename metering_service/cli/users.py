"""What is held about one user."""

import typer

from metering_service.privacy.erase import EraseUsers
from metering_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, OfClient, OfUser, Sure, run_with_pool, show
from service_chassis.cli.usage import Commands
from service_chassis.database.pool import UNHURRIED

commands = Commands(help="What is held about one user.", no_args_is_help=True)


@commands.callback()
def _users() -> None:
    """What is held about one user."""


@commands.command("erase")
def erase(client_id: OfClient, user_id: OfUser, sure: Sure = False, as_json: AsJson = False) -> None:
    """Take the user's id out of all events, after the activity service did; what was charged stays charged.

    A request under way may bring the id back: run both commands again until they find nothing, exit code 1.
    """
    if not sure:
        typer.confirm("Erase this user's id in this service? It cannot be undone.", abort=True)
    events = run_with_pool(
        DatabaseSettings,
        lambda pool: EraseUsers(pool).erase(client_id, user_id, actor=ACTOR),
        command="metering_service users",
        settings=UNHURRIED,
    )
    show({"events": events}, as_json)
