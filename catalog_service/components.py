"""What the service is made of: built once at start, found by the API under one key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
from aiohttp import web

from catalog_service.clients.authenticate import AuthenticateClients, FailedAttempts
from catalog_service.clients.change_secrets import ChangeSecrets
from catalog_service.clients.register import RegisterClients
from catalog_service.clients.states import ClientStates
from catalog_service.metrics import CatalogMetrics
from catalog_service.plans.encoded import EncodedPlansCache, EncodePlans
from catalog_service.plans.sync import SyncPlans
from catalog_service.settings import CatalogSettings
from catalog_service.tokens.issue import IssueTokens
from catalog_service.tokens.key_ring import KeyRing
from service_chassis.application import METRICS, READINESS
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.auth.service_keys import ServiceKey
from service_chassis.clock import Clock
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.tenancy import check_row_security
from service_chassis.database.turns import PoolMetrics

SCHEMA = Schema.of(Path(__file__).parent, role="catalog_service")

ACQUIRE_TIMEOUT_SECONDS = 0.75
WORK_TIMEOUT_SECONDS = 1.5
"""For the few small statements of one request. A request does two such pieces at most, and the first one finds out
when the database is away: the caller has its 500 within 3 s. asyncpg takes the same time again, at most, to cancel an
interrupted statement before it drops the connection; hence half of it for the wait."""


@dataclass(frozen=True, slots=True)
class Components:
    """The use cases that calls need, and what authenticates callers; operators' keys by their SHA-256."""

    admin_keys: Mapping[bytes, ServiceKey]
    credentials: AuthenticateClients
    registrations: RegisterClients
    secrets: ChangeSecrets
    pool: asyncpg.Pool
    tokens: IssueTokens
    key_ring: KeyRing
    verifier: TokenVerifier
    client_states: ClientStates
    encoded_plans: EncodedPlansCache
    plans: SyncPlans


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application,
    settings: CatalogSettings,
    admin_keys: Mapping[bytes, ServiceKey],
    clock: Clock,
    encode_plans: EncodePlans,
) -> AsyncIterator[Components]:
    """Open the pools and put the service together, with what makes it ready; close them at the end."""
    metrics = CatalogMetrics(app[METRICS])
    open_own = partial(
        open_pool,
        settings.postgres_dsn,
        application_name="catalog_service",
        role=settings.postgres_role,
        acquire_seconds=ACQUIRE_TIMEOUT_SECONDS,
        work_seconds=WORK_TIMEOUT_SECONDS,
        is_behind_pooler=settings.postgres_pooler,
        metrics=PoolMetrics(app[METRICS]),
    )
    async with (
        open_own(name="requests", size=settings.postgres_pool_size) as pool,
        # Of its own: however busy requests keep theirs, the process is not taken out of rotation for it.
        open_own(name="readiness", size=1) as readiness_pool,
    ):
        key_ring, clients = KeyRing(pool, clock), AuthenticateClients(pool, FailedAttempts(clock), clock)
        app[READINESS].require("postgres", lambda: check_postgres(readiness_pool))
        app[READINESS].require("row_security", lambda: check_row_security(readiness_pool))
        app[READINESS].require("migrations", lambda: check_schema(readiness_pool, SCHEMA), once=True)
        app[READINESS].require("signing_keys", key_ring.signer)
        yield Components(
            admin_keys=admin_keys,
            credentials=clients,
            registrations=RegisterClients(pool, clock),
            secrets=ChangeSecrets(pool, clock),
            pool=pool,
            tokens=IssueTokens(
                clients,
                key_ring,
                clock,
                issuer=settings.token_issuer,
                audience=settings.token_audience,
                lifetime_seconds=settings.token_lifetime_seconds,
            ),
            key_ring=key_ring,
            verifier=TokenVerifier(
                issuer=settings.token_issuer,
                audience=settings.token_audience,
                find_key=key_ring.find_public,
                clock=clock,
                metrics=app[METRICS],
            ),
            client_states=ClientStates(pool, metrics),
            encoded_plans=EncodedPlansCache(pool, encode_plans, settings.encoded_plans_limit_bytes, metrics),
            plans=SyncPlans(pool, clock),
        )
