"""Notices, and the webhooks that tell them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from metering_service.cli.identifier import read_identifier
from metering_service.notices.address import AddressGuard
from metering_service.notices.administer import LAST_WEBHOOK, AdministerWebhooks
from metering_service.notices.notice import State
from metering_service.notices.send import Failure, make_test_event, open_session, post
from metering_service.settings import WebhookSettings, read_networks, read_receivers
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show
from service_chassis.cli.usage import Commands
from service_chassis.clock import system_clock
from service_chassis.errors import OperatorError
from service_chassis.settings import read_settings

commands = Commands(help="Notices, and whether their receivers have taken them.", no_args_is_help=True)

_COLUMNS = ("at", "noticeId", "clientId", "type", "receiver", "state", "attempts", "nextAttemptAt", "lastError")

OfReceiver = Annotated[str | None, typer.Option("--receiver", help="Its name in METERING_WEBHOOKS; without, all.")]


@commands.command("list")
def list_all(
    client_id: Annotated[
        str | None, typer.Option("--client", help="Of one client.", callback=read_identifier)
    ] = None,
    state: Annotated[State | None, typer.Option(help="In one state; dead are those that were given up.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most lines to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what was told of clients, newest first, and what became of it at each receiver; with --json the events."""
    found, _ = _run(lambda webhooks: webhooks.list_of(client_id, state, LAST_WEBHOOK, limit))
    show([webhook.as_document() for webhook in found], as_json, _COLUMNS)


@commands.command("replay")
def replay(
    notice_id: Annotated[UUID | None, typer.Argument(help="The notice; or --dead.")] = None,
    is_dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    receiver: OfReceiver = None,
    as_json: AsJson = False,
) -> None:
    """Have a notice sent again, or all that were given up, under the same ids: a service that runs sends them."""
    if (notice_id is not None) == is_dead:
        raise OperatorError("NOTICE_ID or --dead: one of them must be given")
    if notice_id is None:
        count = _run(lambda webhooks: webhooks.replay_dead(receiver, actor=ACTOR))
        show({"webhooks": count}, as_json)
        return
    receivers = _run(lambda webhooks: webhooks.replay(notice_id, receiver, actor=ACTOR))
    show({"noticeId": notice_id, "receivers": list(receivers)}, as_json)


@commands.command("send-test")
def send_test(
    receiver: Annotated[str, typer.Argument(help="Its name in METERING_WEBHOOKS.")], as_json: AsJson = False
) -> None:
    """Send a receiver an event about nobody, from here and at once; exit code 1 if it does not take it."""
    settings = read_settings(WebhookSettings)
    found = [each for each in read_receivers(settings) if each.name == receiver]
    if not found:
        raise OperatorError(f"METERING_WEBHOOKS names no receiver {receiver}")

    async def send() -> tuple[dict[str, Any], Failure | None]:
        event = make_test_event(uuid4(), system_clock())
        async with open_session(AddressGuard(read_networks(settings.webhook_networks))) as session:
            return event, await post(session, found[0], UUID(event["id"]), event, system_clock())

    event, failure = asyncio.run(send())
    if failure is not None:
        raise OperatorError(f"{receiver} did not take it: {failure.why}")
    show({"receiver": receiver, "webhookId": event["id"], "state": "delivered"}, as_json)


def _run(work: Callable[[AdministerWebhooks], Awaitable[Result]]) -> Result:
    names = [receiver.name for receiver in read_receivers(read_settings(WebhookSettings))]
    return run_with_pool(
        WebhookSettings, lambda pool: work(AdministerWebhooks(pool, names)), command="metering_service webhooks"
    )
