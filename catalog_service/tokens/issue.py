"""Exchange a client's credentials for an access token."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import uuid_utils

from catalog_service.clients.store import ClientStore
from catalog_service.database import borrow_connection
from catalog_service.tokens.failed_attempts import FailedAttempts
from catalog_service.tokens.key_ring import SigningKeys
from catalog_service.tokens.signing_key import sign
from service_chassis.auth.bearer import TOKEN_TYPE
from service_chassis.errors import ServiceError, Unauthorized

PLANS_SCOPE = "plans"
"""What this service asks of a token."""
_SCOPES = (PLANS_SCOPE, "plan_plays")
_ALL_CLIENTS_SCOPE = "plan_plays:all_clients"
"""Only of clients that were registered with the permission."""
_USERS = UUID("6f3fb1d4-3f0e-4f0c-9d0e-6c1f1d6c9a52")
"""The namespace of derived user ids (RFC 9562, 5.5). Another one would make another person of every user."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What all tokens of this service have in common."""

    issuer: str
    audience: str
    lifetime: timedelta


class TooManyAttempts(ServiceError):
    """The credentials are wrong, and were too often. Said of unknown clients too."""

    status = 429
    code = "too_many_attempts"
    message = "Too many failed attempts"


async def issue_token(
    pool: asyncpg.Pool,
    signing_keys: SigningKeys,
    terms: TokenTerms,
    wanted: Mapping[str, Any],
    now: datetime,
    *,
    failed_attempts: FailedAttempts,
    address: str,
) -> str:
    """Answer an access token for `wanted`, a loaded TokenRequestSchema that came from `address`.

    Raises Unauthorized, after the same work, for an unknown client, a wrong secret and a disabled client; and
    instead of it TooManyAttempts when this happens too often.
    """
    client_id = wanted["client_id"]
    async with borrow_connection(pool) as connection:
        credentials = await ClientStore(connection).fetch_credentials(client_id, now)
    if not credentials.accept(wanted["client_secret"]):
        wait_seconds = failed_attempts.note(client_id, address)
        if wait_seconds is not None:
            raise TooManyAttempts(headers={"Retry-After": str(wait_seconds)})
        raise Unauthorized("Invalid client credentials")
    scopes = [*_SCOPES, _ALL_CLIENTS_SCOPE] if credentials.may_read_all_clients else _SCOPES
    issued_at = int(now.timestamp())
    claims = {
        "iss": terms.issuer,
        "aud": terms.audience,
        "iat": issued_at,
        "exp": issued_at + int(terms.lifetime.total_seconds()),
        "jti": str(uuid_utils.uuid7()),
        "sub": choose_subject(client_id, wanted.get("user")),
        "client_id": client_id,
        "scope": " ".join(scopes),
        "fingerprint_sha256": hashlib.sha256(wanted["fingerprint"].encode()).hexdigest(),
    }
    kid, private_key = await signing_keys.signer()
    return sign(claims, kid, private_key, TOKEN_TYPE)


def choose_subject(client_id: str, user: Mapping[str, str] | None) -> str:
    """Answer the token's `sub`: the user's own id, else one derived from client and email, else the client.

    The derived id is a UUIDv5 whose namespace is the client's, so that no other client's user can share it.
    """
    if user is None:
        return client_id
    return user.get("uid") or str(uuid5(uuid5(_USERS, client_id), user["email"].lower()))
