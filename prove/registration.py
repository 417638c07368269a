"""Clients that the catalog knows, and a token for each."""

import hashlib
from collections.abc import Sequence

import aiohttp
import asyncpg

from catalog_service.clients.client import Client, ClientSecret
from catalog_service.clients.store import ClientStore
from local_stack.errors import StackError
from prove.breakable_stack import BreakableStack
from service_chassis.clock import system_clock


async def register_clients(stack: BreakableStack, client_ids: Sequence[str]) -> dict[str, str]:
    """Make clients known to the catalog and fetch a token for each."""
    secret = hashlib.sha256(stack.secrets["admin_key"].encode()).hexdigest()
    connection = await asyncpg.connect(stack.dsns["catalog"])
    try:
        async with connection.transaction():
            clients = ClientStore(connection)
            for client_id in client_ids:
                await clients.insert_client(
                    Client(client_id, client_id, False, disabled_at=None, created_at=system_clock())
                )
                await clients.insert_secret(client_id, ClientSecret.of(secret, system_clock()))
    finally:
        await connection.close()
    tokens = {}
    async with aiohttp.ClientSession() as session:
        for client_id in client_ids:
            body = {"client_id": client_id, "client_secret": secret, "fingerprint": "campaign"}
            async with session.post(f"{stack.url('catalog')}/generate-client-auth-token", json=body) as response:
                if response.status != 200:
                    raise StackError(f"no token for {client_id}: status {response.status}")
                tokens[client_id] = (await response.json())["data"]["access_token"]
    return tokens
