"""What every store of a service is: SQL about some tables, and a connection to send it through."""

import asyncpg


class Store:
    """Sends statements through one connection that the caller holds, or through the pool where one stands alone."""

    def __init__(self, connection: asyncpg.Connection | asyncpg.Pool) -> None:
        self._connection = connection
