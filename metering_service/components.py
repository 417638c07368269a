"""What the application keeps for its routes."""

from dataclasses import dataclass

from aiohttp import web

from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.ledger_store import AccountStore
from metering_service.api.auth import ServiceKeys
from metering_service.events.authorize import AuthorizeEvents
from metering_service.events.hold_store import HoldStore
from metering_service.events.settle import ReleaseHolds, SettleEvents
from metering_service.policies.store import PolicyStore
from service_chassis.clock import Clock
from service_chassis.http.cursor import CursorSigner


@dataclass(frozen=True)
class Metering:
    """The use cases and stores of one process, wired."""

    authorize: AuthorizeEvents
    settle: SettleEvents
    release: ReleaseHolds
    administer: AdministerAccounts
    holds: HoldStore
    accounts: AccountStore
    policies: PolicyStore
    service_keys: ServiceKeys
    cursors: CursorSigner
    clock: Clock
    default_policy: str


METERING = web.AppKey("metering", Metering)
