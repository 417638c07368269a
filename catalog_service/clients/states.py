"""What every request asks about its client, in one statement for all that ask at the same time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg

from catalog_service.clients.store import ClientStore
from catalog_service.database import WORK_TIMEOUT_SECONDS, borrow_connection
from service_chassis.batching import Batcher


@dataclass(frozen=True, slots=True)
class ClientState:
    """What may change about a client while its tokens live."""

    plans_version: int
    disabled: bool


class ClientStates:
    """Reads clients' states as they are after the question was asked, so that no answer is from before it.

    This makes a disabled client's tokens and the encoded plans of an older version useless at once, whichever
    process made the change, at the price of a share of one small statement per request.
    """

    def __init__(self, pool: asyncpg.Pool, *, observe_size: Callable[[int], None]) -> None:
        self._pool = pool
        self._batcher: Batcher[str, ClientState | None] = Batcher(
            self._fetch_many, patience_seconds=WORK_TIMEOUT_SECONDS, observe_size=observe_size
        )

    async def fetch(self, client_id: str) -> ClientState | None:
        """Answer the client's state, None for an unknown one. Raises TimeoutError when the database is away."""
        return await self._batcher.submit(client_id)

    async def _fetch_many(self, client_ids: list[str]) -> Sequence[ClientState | None]:
        async with borrow_connection(self._pool) as connection:
            rows = await ClientStore(connection).list_states(list(set(client_ids)))
        states = {row["client_id"]: ClientState(row["plans_version"], row["disabled"]) for row in rows}
        return [states.get(client_id) for client_id in client_ids]
