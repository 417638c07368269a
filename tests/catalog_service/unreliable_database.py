"""A way to PostgreSQL that can be cut, or that stops moving, while the server itself is fine."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class UnreliableDatabase:
    """Passes connections on to the database at `dsn`; `self.dsn` is the way through here."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self.dsn = dsn
        self._moving = asyncio.Event()
        self._moving.set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login, _, _ = self._target.netloc.rpartition("@")
        self.dsn = urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{port}"))

    def freeze(self) -> None:
        """Let nothing through any more; connections stay open, new ones are accepted."""
        self._moving.clear()

    def cut(self) -> None:
        """Drop every connection, and each new one at once."""
        self._refusing = True
        self._drop()

    def heal(self) -> None:
        """Be a good way again; what was frozen comes through late."""
        self._refusing = False
        self._moving.set()

    async def close(self) -> None:
        self.heal()
        self._drop()
        if self._server is not None:
            self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _drop(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        there = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._connections |= {writer, there[1]}
        for source, sink in ((reader, there[1]), (there[0], writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._moving.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
