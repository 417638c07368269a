"""What every request asks about its client, in one statement for all that ask at the same time."""

import asyncpg

from catalog_service.clients.client import ClientState
from catalog_service.clients.store import ClientStore
from catalog_service.metrics import CatalogMetrics
from service_chassis.batching import Batcher

_TIMEOUT_SECONDS = 1.5
"""For a request's share of a statement, its turn included."""


class ClientStates:
    """Reads clients' states as they are after the question was asked, so that no state is from before it.

    This makes a disabled client's tokens and the encoded plans of an older version useless at once, whichever
    process made the change, at the price of a share of one small statement per request.
    """

    def __init__(self, pool: asyncpg.Pool, metrics: CatalogMetrics) -> None:
        self._pool = pool
        self._batcher: Batcher[str, ClientState | None] = Batcher(
            self._fetch_many,
            timeout_seconds=_TIMEOUT_SECONDS,
            observe_size=metrics.client_states_batch.observe,
        )

    async def fetch(self, client_id: str) -> ClientState | None:
        """Return the client's state, None for an unknown one. Raises TimeoutError when the database is away."""
        return await self._batcher.submit(client_id)

    async def _fetch_many(self, client_ids: list[str]) -> list[ClientState | None]:
        async with self._pool.acquire() as connection:
            found = await ClientStore(connection).list_states(list(set(client_ids)))
        states = {state.client_id: state for state in found}
        return [states.get(client_id) for client_id in client_ids]
