"""The operators' command line: what has no public call."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import asyncpg
import orjson
import typer
from marshmallow import ValidationError

from metering_service import MIGRATIONS
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.ledger_store import AccountStore
from metering_service.api.clients import render_balance, render_entry
from metering_service.api.policies import read_policy, render_version
from metering_service.api.responses import WRONG_IDENTIFIER, is_identifier
from metering_service.api.schemas import PolicySchema
from metering_service.app import create_app
from metering_service.cli.audit import audit
from metering_service.events.hold_store import HoldStore
from metering_service.policies.store import PolicyStore
from metering_service.settings import DatabaseSettings, MeteringSettings
from service_chassis import application
from service_chassis.cli.commands import (
    AsJson,
    OfClient,
    OfUser,
    Sure,
    migrate_and_show,
    run_commands,
    run_with_pool,
    show_json,
    show_table,
)
from service_chassis.clock import system_clock
from service_chassis.database.pool import UNHURRIED
from service_chassis.errors import OperatorError
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import read_settings

_ACTOR = "command line"
_PAGE = 500

commands = typer.Typer(
    help="Metering: policies, credits, ledger. Settings come from the environment; see the README's table.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
)
policies = typer.Typer(help="Policies and their versions.", no_args_is_help=True)
commands.add_typer(policies, name="policies")
users = typer.Typer(help="What is held about one user.", no_args_is_help=True)
commands.add_typer(users, name="users")
commands.command()(audit)


def _read_identifier(text: str) -> str:
    if not is_identifier(text):
        raise typer.BadParameter(WRONG_IDENTIFIER)
    return text


ClientId = Annotated[str, typer.Argument(help="The client's id.", callback=_read_identifier)]
PolicyId = Annotated[str, typer.Argument(help="The policy's id.", callback=_read_identifier)]
Found = TypeVar("Found")


@commands.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Serve, unless a sub-command is given."""
    if context.invoked_subcommand is None:
        serve()


@commands.command()
def serve() -> None:
    """Serve the internal API until SIGTERM."""
    settings = read_settings(MeteringSettings)
    configure_logging(settings.log_level, "metering")
    application.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        ops_host=settings.ops_host,
        ops_port=settings.ops_port,
    )


@commands.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    migrate_and_show(read_settings(DatabaseSettings).postgres_dsn, MIGRATIONS, as_json)


@policies.command("list")
def list_policies(as_json: AsJson = False) -> None:
    """List the current version of every policy."""

    async def read(operator: "Operator") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := await operator.policies.list_current(found[-1]["policyId"] if found else "", _PAGE):
            found += [render_version(version) for version in page]
        return found

    _show(_run(read), as_json, ("policyId", "version", "rate", "quota", "prices", "credits", "mode"))


@policies.command("show")
def show_policy(policy_id: PolicyId, as_json: AsJson = False) -> None:
    """Show all versions of a policy, newest first."""

    async def read(operator: "Operator") -> list[dict[str, Any]]:
        return [render_version(version) for version in await operator.policies.list_versions(policy_id)]

    versions = _run(read)
    if not versions:
        raise OperatorError(f"there is no policy {policy_id}")
    _show(versions, as_json, ("version", "createdAt", "rate", "quota", "prices", "credits", "mode"))


@policies.command("put")
def put_policy(
    policy_id: PolicyId,
    file: Annotated[typer.FileText, typer.Argument(help="The terms as JSON; - for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Set the terms of a policy: each change is a new version."""
    try:
        policy = read_policy(PolicySchema().load(orjson.loads(file.read())))
    except orjson.JSONDecodeError as error:
        raise OperatorError(f"{file.name}: not JSON: {error}") from None
    except ValidationError as error:
        raise OperatorError(f"{file.name}: {error.messages}") from None

    async def write(operator: "Operator") -> dict[str, Any]:
        return render_version(await operator.administer.put_policy(policy_id, policy, actor=_ACTOR))

    _show(_run(write), as_json, ("policyId", "version", "rate", "quota", "prices", "credits", "mode"))


@commands.command()
def assign(client_id: ClientId, policy_id: PolicyId) -> None:
    """Give a client a policy, in force from its next decision."""
    _run(lambda operator: operator.administer.assign_policy(client_id, policy_id, actor=_ACTOR))
    typer.echo(f"{client_id} has policy {policy_id}")


@commands.command()
def grant(
    client_id: ClientId,
    credits: Annotated[int, typer.Argument(min=1, max=10**12, help="How many credits.")],
    grant_id: Annotated[str, typer.Option(help="The same id again changes nothing.", callback=_read_identifier)],
    note: Annotated[str | None, typer.Option(help="For the ledger.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from: an order, a promotion.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a client credits."""

    async def write(operator: "Operator") -> dict[str, Any]:
        entry = await operator.administer.grant(client_id, grant_id, credits, source=source, note=note, actor=_ACTOR)
        return render_entry(entry)

    _show(_run(write), as_json, ("entryId", "kind", "credits", "reference", "note", "at"))


@commands.command()
def adjust(
    client_id: ClientId,
    credits: Annotated[int, typer.Argument(min=-(10**12), max=10**12, help="Signed; put -- before a negative one.")],
    adjustment_id: Annotated[str, typer.Option(help="The same id again changes nothing.", callback=_read_identifier)],
    reason: Annotated[str, typer.Option(help="For the ledger.")],
    as_json: AsJson = False,
) -> None:
    """Correct a client's credits, up or down; never below what is available."""
    if credits == 0:
        raise OperatorError("credits: must not be 0")

    async def write(operator: "Operator") -> dict[str, Any]:
        return render_entry(
            await operator.administer.adjust(client_id, adjustment_id, credits, reason=reason, actor=_ACTOR)
        )

    _show(_run(write), as_json, ("entryId", "kind", "credits", "reference", "note", "at"))


@commands.command()
def balance(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show what a client was granted, has spent, has held, and has available."""

    async def read(operator: "Operator") -> dict[str, Any]:
        return render_balance(client_id, await operator.accounts.fetch_balance(client_id))

    _show(_run(read), as_json, ("clientId", "granted", "spent", "held", "available"))


@commands.command()
def ledger(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show every line of a client's ledger, oldest first."""

    async def read(operator: "Operator") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := await operator.accounts.list_ledger(client_id, found[-1]["entryId"] if found else 0, _PAGE):
            found += [render_entry(row) for row in page]
        return found

    _show(_run(read), as_json, ("entryId", "at", "kind", "credits", "eventType", "eventId", "reference", "note"))


@users.command("erase")
def erase_user(client_id: OfClient, user_id: OfUser, sure: Sure = False, as_json: AsJson = False) -> None:
    """Take the user's id out of all events, after the activity service did; what was charged stays charged.

    A request under way may bring the id back: run both commands again until they count nothing.
    """
    if not sure:
        typer.confirm("Erase this user's id in this service? It cannot be undone.", abort=True)

    async def write(operator: "Operator") -> dict[str, Any]:
        return {"holds": await operator.administer.erase_user(client_id, user_id, actor=_ACTOR)}

    _show(_run(write, settings=UNHURRIED), as_json, ("holds",))


class Operator:
    """The stores and use cases that commands work with."""

    def __init__(self, pool: asyncpg.Pool, settings: DatabaseSettings) -> None:
        self.accounts = AccountStore(pool)
        self.policies = PolicyStore(pool, default_policy=settings.default_policy)
        holds = HoldStore(pool, default_policy=settings.default_policy)
        self.administer = AdministerAccounts(pool, self.accounts, self.policies, holds, clock=system_clock)


def _run(work: Callable[[Operator], Awaitable[Found]], *, settings: Mapping[str, str] | None = None) -> Found:
    database = read_settings(DatabaseSettings)
    return run_with_pool(
        database.postgres_dsn,
        lambda pool: work(Operator(pool, database)),
        application_name="metering_service command",
        settings=settings,
    )


def _show(found: dict[str, Any] | list[dict[str, Any]], as_json: bool, columns: Sequence[str]) -> None:
    if as_json:
        show_json(found)
    else:
        show_table(found if isinstance(found, list) else [found], {name: name for name in columns})


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; a failure is one line and exit code 1."""
    run_commands(commands, "metering_service", arguments)
