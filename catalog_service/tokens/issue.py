"""Exchange a client's credentials for an access token."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import uuid_utils

from catalog_service.clients.authenticate import AuthenticateClients
from catalog_service.tokens.key_ring import KeyRing
from catalog_service.tokens.signing_key import sign
from service_chassis.auth.bearer import TOKEN_TYPE
from service_chassis.clock import Clock

_SCOPES = ("plans", "plan_plays")
"""What this service asks of a token, and what the activity service asks."""
_ALL_CLIENTS_SCOPE = "plan_plays:all_clients"
"""Only of clients that were registered with the permission."""
_USERS = UUID("6f3fb1d4-3f0e-4f0c-9d0e-6c1f1d6c9a52")
"""The namespace of derived user ids (RFC 9562, 5.5). Another one would make another person of every user."""


@dataclass(frozen=True, slots=True)
class IssueTokens:
    """Signs tokens for clients that show a secret; issuer, audience and lifetime are the same in all."""

    clients: AuthenticateClients
    key_ring: KeyRing
    clock: Clock
    issuer: str
    audience: str
    lifetime_seconds: int

    async def issue(self, wanted: Mapping[str, Any], *, address: str) -> str:
        """Return an access token for `wanted`, a loaded TokenRequestSchema that came from `address`.

        Raises InvalidCredentials or TooManyAttempts.
        """
        client_id = wanted["client_id"]
        credentials, _ = await self.clients.authenticate(client_id, wanted["client_secret"], address=address)
        scopes = [*_SCOPES, _ALL_CLIENTS_SCOPE] if credentials.may_read_all_clients else _SCOPES
        issued_at = int(self.clock().timestamp())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_seconds,
            "jti": str(uuid_utils.uuid7()),
            "sub": choose_subject(client_id, wanted.get("user")),
            "client_id": client_id,
            "scope": " ".join(scopes),
            "fingerprint_sha256": hashlib.sha256(wanted["fingerprint"].encode()).hexdigest(),
        }
        kid, private_key = await self.key_ring.signer()
        return sign(claims, kid, private_key, TOKEN_TYPE)


def choose_subject(client_id: str, user: Mapping[str, str] | None) -> str:
    """Return the token's `sub`: the user's own id, else one derived from client and email, else the client.

    The derived id is a UUIDv5 whose namespace is the client's, so that no other client's user can share it.
    """
    if user is None:
        return client_id
    return user.get("uid") or str(uuid5(uuid5(_USERS, client_id), user["email"].lower()))
