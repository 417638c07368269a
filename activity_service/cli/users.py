"""What operators do for a person: hand out what is held about a user, and erase it."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from activity_service.privacy.personal_data import PersonalData
from activity_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, OfClient, Result, Sure, run_with_pool, show, show_json
from service_chassis.cli.usage import Commands
from service_chassis.database.pool import UNHURRIED
from service_chassis.operations.logging import configure_logging

OfUserOrNone = Annotated[str | None, typer.Option("--user", help="The user's id, as in `userId`.")]
OfEmail = Annotated[str | None, typer.Option("--email", help="An e-mail address, in plays that name no user.")]

commands = Commands(help="Export or erase what is held about one user.", no_args_is_help=True)


@commands.command("export")
def export(client_id: OfClient, user_id: OfUserOrNone = None, email: OfEmail = None) -> None:
    """Print all that is held about a user, or in plays without a user about an e-mail address, as JSON."""
    if _require_one(user_id, email):
        show_json(_run(lambda data: data.export(client_id, user_id or "")))
    else:
        show_json(_run(lambda data: data.export_email(client_id, email or "")))


@commands.command("erase")
def erase(
    client_id: OfClient,
    user_id: OfUserOrNone = None,
    email: OfEmail = None,
    sure: Sure = False,
    as_json: AsJson = False,
) -> None:
    """Take the person out of the user's plays, which stay as facts; what was charged stays charged.

    With --email, out of the plays that name no user and hold that address.
    Refuses while one of the user's events is not charged yet. Metering keeps the id until its own `users erase`.
    A request under way may bring the person back: run both commands again until they find nothing, exit code 1.
    """
    is_user = _require_one(user_id, email)
    if not sure:
        typer.confirm(
            "Erase this person's email, name, photo and id in this service? It cannot be undone.", abort=True
        )
    if is_user:
        erased = _run(lambda data: data.erase(client_id, user_id or "", actor=ACTOR))
    else:
        erased = _run(lambda data: data.erase_email(client_id, email or "", actor=ACTOR))
    show(erased, as_json)


def _require_one(user_id: str | None, email: str | None) -> bool:
    """Return whether it is the user that is given, and not the address. Raises BadParameter for none or both."""
    if not user_id and not email:
        raise typer.BadParameter("say of whom: --user, or --email for plays without a user")
    if user_id and email:
        raise typer.BadParameter("--user or --email, not both: plays of a user are found by the user")
    return bool(user_id)


def _run(work: Callable[[PersonalData], Awaitable[Result]]) -> Result:
    # The trace that it was done goes to standard error: standard output is what was asked for.
    configure_logging("info", "activity_service", sys.stderr.buffer)
    return run_with_pool(
        DatabaseSettings,
        lambda pool: work(PersonalData(pool)),
        command="activity_service users",
        settings=UNHURRIED,
        acts_as_role=True,
    )
