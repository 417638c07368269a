"""One of the usual ways as a shop: two processes of its server, two databases on the product's PostgreSQL."""

import sys
from collections.abc import Sequence

import asyncpg

from local_stack.ports import LOOPBACK, choose_free_port
from local_stack.servers import create_databases
from prove.breakable_stack import BreakableStack, Program
from prove.counting import Sales
from prove.usual import server

STATEMENT_TIMEOUT_SECONDS = 5.0


class UsualShop:
    """Runs `prove.usual.MODULE` instead of the product's services. Its clients' tokens are their names."""

    helpers: Sequence[str] = ()

    def __init__(self, stack: BreakableStack, name: str, module: str) -> None:
        self.name = name
        self.sellers: Sequence[str] = (f"{module}-1", f"{module}-2")
        self._stack = stack
        self._module = module
        self._plays, self._credits = f"{module}_plays", f"{module}_credits"
        self._ports = {seller: choose_free_port() for seller in self.sellers}

    async def open(self, client_ids: Sequence[str]) -> None:
        """Make the databases and start the servers in the place of whatever ran."""
        dsn = self._stack.postgres.dsn
        databases = {self._plays: None, self._credits: None}
        await self._stack.in_thread(lambda: create_databases(dsn(), databases))
        for database, schema in ((self._plays, server.PLAYS_SCHEMA), (self._credits, server.CREDITS_SCHEMA)):
            connection = await asyncpg.connect(dsn(database))
            await connection.execute(schema)
            if database == self._credits:
                rows = [(client_id,) for client_id in client_ids]
                await connection.executemany("INSERT INTO client (client_id, credits) VALUES ($1, 0)", rows)
            await connection.close()
        variables = {server.PLAYS_DSN: dsn(self._plays), server.CREDITS_DSN: dsn(self._credits)}
        await self._stack.replace_services(
            {
                seller: Program(
                    [sys.executable, "-m", f"prove.usual.{self._module}"],
                    {**variables, server.PORT: str(self._ports[seller])},
                    f"{self.url(seller)}/readyz",
                )
                for seller in self.sellers
            }
        )

    def url(self, seller: str) -> str:
        """Return the root of a server."""
        return f"http://{LOOPBACK}:{self._ports[seller]}"

    def token(self, client_id: str) -> str:
        """Return the client's name."""
        return client_id

    async def give(self, client_id: str, round_number: int, plays: int, plays_in_all: int) -> None:
        """Add credits, once a round: this is the load's side, and right."""
        statement = """
            WITH first AS (INSERT INTO given VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING client_id)
            UPDATE client SET credits = credits + $3 FROM first WHERE client.client_id = first.client_id
        """
        connection = await asyncpg.connect(self._stack.postgres.dsn(self._credits), timeout=2)
        try:
            await connection.execute(statement, client_id, round_number, plays, timeout=STATEMENT_TIMEOUT_SECONDS)
        finally:
            connection.terminate()

    async def fetch_sales(self) -> Sales:
        """Read charges and plays; an operation is its key."""
        charges = await self._fetch(self._credits, "SELECT idempotency_key FROM charge")
        plays = await self._fetch(self._plays, "SELECT client_id, idempotency_key FROM play")
        return Sales([(row[0], row[1]) for row in plays], [row[0] for row in charges])

    async def come_to_rest(self) -> None:
        """End the servers, which end what is under way first."""
        await self._stack.replace_services({})

    async def _fetch(self, database: str, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._stack.postgres.dsn(database), timeout=2)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, timeout=STATEMENT_TIMEOUT_SECONDS)
            return rows
        finally:
            connection.terminate()
