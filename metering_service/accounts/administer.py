"""What an operator changes: policies, who has which, grants, adjustments, users' ids. Every change is audited."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

import asyncpg

from metering_service.accounts.account import ReferenceReused, UnknownPolicy
from metering_service.accounts.ledger_store import ACQUIRE_TIMEOUT_SECONDS, AccountStore
from metering_service.events.hold_store import HoldStore
from metering_service.policies.policy import Policy, PolicyVersion
from metering_service.policies.store import PolicyStore
from service_chassis.clock import Clock
from service_chassis.errors import Conflict


class AdministerAccounts:
    """The changes, each one transaction with its audit line. `actor` is the name of a key, or of the command line."""

    def __init__(
        self, pool: asyncpg.Pool, accounts: AccountStore, policies: PolicyStore, holds: HoldStore, *, clock: Clock
    ) -> None:
        self._pool = pool
        self._accounts = accounts
        self._policies = policies
        self._holds = holds
        self._clock = clock

    async def put_policy(self, policy_id: str, policy: Policy, *, actor: str) -> PolicyVersion:
        """Make `policy` the current version; the same terms again change nothing. Raises Conflict on a race."""
        now = self._clock()
        try:
            async with self._transaction() as connection:
                version = await self._policies.insert_version(connection, policy_id, policy, now)
                await self._accounts.insert_audit(
                    connection,
                    actor=actor,
                    action="put_policy",
                    target=policy_id,
                    detail={"version": version.version, **asdict(policy)},
                    now=now,
                )
                return version
        except asyncpg.UniqueViolationError:
            raise Conflict("The policy was changed at the same time; read it and try again") from None

    async def assign_policy(self, client_id: str, policy_id: str, *, actor: str) -> None:
        """Give a client a policy, from its next decision on. Raises UnknownPolicy."""
        now = self._clock()
        try:
            async with self._transaction() as connection:
                await self._accounts.lock_account(connection, client_id, now)
                await self._accounts.assign_policy(connection, client_id, policy_id)
                await self._accounts.insert_audit(
                    connection,
                    actor=actor,
                    action="assign_policy",
                    target=client_id,
                    detail={"policyId": policy_id},
                    now=now,
                )
        except asyncpg.ForeignKeyViolationError:
            raise UnknownPolicy from None
        self._policies.forget([client_id])

    async def grant(
        self, client_id: str, grant_id: str, credits: int, *, source: str | None, note: str | None, actor: str
    ) -> asyncpg.Record:
        """Give a client credits, once per `grant_id`; answer the ledger entry. Raises ReferenceReused."""
        return await self._write_entry(client_id, "grant", grant_id, credits, source=source, note=note, actor=actor)

    async def adjust(
        self, client_id: str, adjustment_id: str, credits: int, *, reason: str, actor: str
    ) -> asyncpg.Record:
        """Correct a client's credits up or down, once per `adjustment_id`; answer the ledger entry.

        Raises InsufficientCredits or ReferenceReused.
        """
        return await self._write_entry(
            client_id, "adjust", adjustment_id, credits, source=None, note=reason, actor=actor
        )

    async def erase_user(self, client_id: str, user_id: str, *, actor: str) -> int:
        """Forget which events were this user's; answer how many there were. The audit line does not name the user."""
        async with self._transaction() as connection:
            holds = await self._holds.erase_user(connection, client_id, user_id)
            await self._accounts.insert_audit(
                connection,
                actor=actor,
                action="erase_user",
                target=client_id,
                detail={"holds": holds},
                now=self._clock(),
            )
        return holds

    async def _write_entry(
        self,
        client_id: str,
        kind: str,
        reference: str,
        credits: int,
        *,
        source: str | None,
        note: str | None,
        actor: str,
    ) -> asyncpg.Record:
        now = self._clock()
        async with self._transaction() as connection:
            await self._accounts.lock_account(connection, client_id, now)
            entry, is_new = await self._accounts.insert_entry(
                connection,
                client_id,
                kind=kind,
                reference=reference,
                credits=credits,
                source=source,
                note=note,
                now=now,
            )
            if is_new:
                await self._accounts.insert_audit(
                    connection,
                    actor=actor,
                    action=kind,
                    target=client_id,
                    detail={"reference": reference, "credits": credits, "source": source, "note": note},
                    now=now,
                )
        if (entry["credits"], entry["source"], entry["note"]) != (credits, source, note):
            raise ReferenceReused(f"{reference} was used before with other content")
        return entry

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection, connection.transaction():
            yield connection
