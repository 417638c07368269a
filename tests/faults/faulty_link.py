"""A TCP proxy between two parts of the stack, that does to their connections what networks do."""

import asyncio
import contextlib
import random
from collections.abc import Callable

from local_stack.ports import LOOPBACK

CHUNK_BYTES = 65536

Tap = Callable[[int, bytes], None]
"""Is shown what callers send: the number of the connection, and some bytes."""


class FaultyLink:
    """Forwards connections to `target_port`. Without a fault it adds nothing but a copy.

    A fault is a state that holds until heal(). Bytes are never altered: TCP would notice, and so would TLS.
    """

    def __init__(self, name: str, target_port: int, tap: Tap | None = None) -> None:
        self.name = name
        self.port = 0
        self._target_port = target_port
        self._tap = tap
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._longest_delay_seconds = 0.0
        self._shortest_delay_seconds = 0.0
        self._bytes_until_cut: int | None = None
        self._lose_answer_to: bytes | None = None
        self._doomed: set[int] = set()
        self._connections = 0

    async def start(self) -> None:
        """Listen, at first on any free port, later on the same."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Refuse new connections and reset those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Reset every connection; new ones are fine."""
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Let nothing through and close nothing: what a lost route looks like."""
        self._passing.clear()

    def delay(self, shortest_seconds: float, longest_seconds: float) -> None:
        """Hold back each piece for a random time; pieces of different connections overtake each other."""
        self._shortest_delay_seconds, self._longest_delay_seconds = shortest_seconds, longest_seconds

    def cut_answers_after(self, size: int) -> None:
        """Let `size` more bytes of answers through, then half-close that connection in the middle of one."""
        self._bytes_until_cut = size

    def lose_answer_to(self, marker: bytes) -> None:
        """Let the next piece that holds `marker` through, wait for its answer, and reset the connection instead."""
        self._lose_answer_to = marker

    async def heal(self) -> None:
        """Be an ordinary link again. Connections that were cut stay cut."""
        self._passing.set()
        self.delay(0, 0)
        self._bytes_until_cut = self._lose_answer_to = None
        if self._server is None:
            await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._connections += 1
        number = self._connections
        try:
            their_reader, their_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, their_writer}
        try:
            await asyncio.gather(
                self._pump(reader, their_writer, number, is_answer=False),
                self._pump(their_reader, writer, number, is_answer=True),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= {writer, their_writer}
            writer.transport.abort()
            their_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, *, is_answer: bool
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._longest_delay_seconds:
                await asyncio.sleep(random.uniform(self._shortest_delay_seconds, self._longest_delay_seconds))
            await self._passing.wait()
            if self._tap is not None and not is_answer:
                self._tap(number, data)
            if not is_answer and self._lose_answer_to is not None and self._lose_answer_to in data:
                self._lose_answer_to = None
                self._doomed.add(number)
            elif is_answer and number in self._doomed:
                raise ConnectionResetError
            if is_answer and self._bytes_until_cut is not None:
                let_through = min(self._bytes_until_cut, len(data))
                self._bytes_until_cut -= let_through
                if let_through < len(data):
                    self._bytes_until_cut = None
                    writer.write(data[:let_through])
                    break
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
