"""What the application keeps for its routes."""

from dataclasses import dataclass

from aiohttp import web

from metering_service.account_store import AccountStore
from metering_service.administer_accounts import AdministerAccounts
from metering_service.authorize_events import AuthorizeEvents
from metering_service.hold_store import HoldStore
from metering_service.policy_store import PolicyStore
from metering_service.service_keys import ServiceKeys
from metering_service.settle_events import ReleaseHolds, SettleEvents
from service_chassis.clock import Clock
from service_chassis.cursor import CursorSigner


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
