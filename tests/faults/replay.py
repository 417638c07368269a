"""Keep what one part said to another over HTTP, and say it again: at once, later, out of order."""

import asyncio
import random
import re
from collections import deque

from local_stack.ports import LOOPBACK

KEPT_REQUESTS = 500
ANSWER_TIMEOUT_SECONDS = 2.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class RequestTape:
    """The last whole POST requests that went over a link, as bytes; its `listen` is a link's tap."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._unfinished: dict[int, bytes] = {}
        self._kept: deque[bytes] = deque(maxlen=KEPT_REQUESTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_doubling = False
        self.replayed = 0

    def listen(self, connection: int, data: bytes) -> None:
        """Take in what a caller sent."""
        buffered = self._unfinished.pop(connection, b"") + data
        while (end := buffered.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(buffered[: end + 2])
            size = end + 4 + (int(length[1]) if length else 0)
            if len(buffered) < size:
                break
            request, buffered = buffered[:size], buffered[size:]
            if request.startswith(b"POST "):
                self._kept.append(request)
                if self.is_doubling:
                    self._say(request)
        if buffered:
            self._unfinished[connection] = buffered

    async def replay(self, seconds: float, rng: random.Random) -> None:
        """Say old requests again for a while, in bursts, newest first: older ones arrive after younger ones."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            for request in reversed(rng.sample(list(self._kept), min(10, len(self._kept)))):
                self._say(request)
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Let what is being said end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _say(self, request: bytes) -> None:
        self.replayed += 1
        task = asyncio.create_task(self._send(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, request: bytes) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._target_port)
                try:
                    writer.write(request)
                    await reader.readuntil(b"\r\n\r\n")
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the repetition is lost: that is a fault too
