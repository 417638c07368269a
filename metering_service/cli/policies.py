"""Policies and their versions."""

from datetime import datetime
from typing import Annotated

import typer

from metering_service.cli.identifier import MOMENTS, FromDay, PolicyId, ToDay, read_day, read_moment
from metering_service.cli.run import run
from metering_service.policies.administer import cancel_version, fetch_history, list_current, put_version
from metering_service.policies.schema import PolicySchema, make_policy
from metering_service.shadow.keep import FIRST_REFUSALS, report_shadow
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, show
from service_chassis.cli.usage import Commands
from service_chassis.errors import InvalidRequest, OperatorError, say
from service_chassis.http.cursor import read_pages
from service_chassis.http.json_body import load
from service_chassis.text_file import parse_json_text, read_text

commands = Commands(help="Policies and their versions.", no_args_is_help=True)

_PAGE_ENTRIES = 500
_TERMS = ("rates", "quotas", "prices", "credits", "mode", "notices")
_COLUMNS = ("policyId", "version", *_TERMS)


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the current version of every policy."""

    found = run(
        lambda pool: read_pages(
            lambda after: list_current(pool, after, _PAGE_ENTRIES),
            "",
            lambda version: version.policy_id,
        ),
        command="policies",
    )
    show([version.as_document() for version in found], as_json, _COLUMNS)


@commands.command("show")
def show_history(policy_id: PolicyId, as_json: AsJson = False) -> None:
    """Show all versions of a policy, newest first."""
    _, versions = run(lambda pool: fetch_history(pool, policy_id), command="policies")
    show([version.as_document() for version in versions], as_json, ("version", "effectiveAt", *_TERMS))


@commands.command("put")
def put(
    policy_id: PolicyId,
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="The terms as JSON; - for standard input.")],
    effective_at: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="From when on, UTC; without, from now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the terms of a policy: each change is a new version."""
    try:
        policy = make_policy(load(PolicySchema(), parse_json_text(read_text(file.read(), file.name), file.name)))
    except InvalidRequest as error:
        raise OperatorError(f"{file.name}: {say(error)}") from None
    version, warnings = run(
        lambda pool: put_version(pool, policy_id, policy, effective_at=read_moment(effective_at), actor=ACTOR),
        command="policies",
    )
    document = {**version.as_document(), **({"warnings": warnings} if as_json else {})}
    show(document, as_json, ("policyId", "version", "effectiveAt"))
    if not as_json:
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)


@commands.command("cancel-booked")
def cancel_booked(policy_id: PolicyId, as_json: AsJson = False) -> None:
    """Take back the version of a policy that is booked for later."""
    run(lambda pool: cancel_version(pool, policy_id, actor=ACTOR), command="policies")
    show({"policyId": policy_id}, as_json)


@commands.command("shadow-report")
def shadow_report(
    policy_id: PolicyId, from_day: FromDay = None, to_day: ToDay = None, as_json: AsJson = False
) -> None:
    """Show what a policy would have refused, by day, client and limit, where it is a client's shadow policy."""
    begin, end = read_day(from_day), read_day(to_day)
    found = run(
        lambda pool: read_pages(
            lambda after: report_shadow(pool, policy_id, begin, end, after, _PAGE_ENTRIES),
            FIRST_REFUSALS,
            lambda line: (line.day, line.client_id, line.code, line.limit),
        ),
        command="policies",
    )
    show([line.as_document() for line in found], as_json)
