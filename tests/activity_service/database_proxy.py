"""A wire to PostgreSQL that a test can cut at an exact message, in either direction."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


class DatabaseProxy:
    """Forwards connections to the server of `dsn`; `self.dsn` is where to connect instead."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._lose_answer_to: bytes | None = None
        self._after = b""
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.answer_lost = asyncio.Event()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port: int = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        self.dsn = urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{self.port}"))

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lose_answer_to(self, marker: bytes, *, after: bytes = b"") -> None:
        """Let the next message that holds `marker` through, wait for its answer, and cut the connection instead.

        With `after`, only on a connection that said that before: others commit too.
        """
        self.answer_lost.clear()
        self._lose_answer_to, self._after = marker, after

    def freeze(self) -> None:
        """Let nothing through, in either direction, without closing anything."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        doomed = asyncio.Event()
        server_reader, server_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        directions = [
            asyncio.create_task(self._ask(reader, server_writer, doomed)),
            asyncio.create_task(self._reply(server_reader, writer, doomed)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            writer.transport.abort()
            server_writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        said = b""
        while data := await reader.read(65536):
            await self._thawed.wait()
            said += data
            if self._lose_answer_to is not None and self._lose_answer_to in data and self._after in said:
                self._lose_answer_to = None
                doomed.set()
            writer.write(data)
            await writer.drain()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._thawed.wait()
                if doomed.is_set():
                    self.answer_lost.set()
                    return
                writer.write(data)
                await writer.drain()
