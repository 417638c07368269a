"""A PgBouncer with transaction pools, for tests: one that has prepared statements follow its clients."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from local_stack.child_process import ChildProcess
from local_stack.ports import choose_free_port

BINARY = shutil.which("pgbouncer", path="/usr/local/bin:/usr/bin:/usr/sbin")
FOLLOWING_VERSION = (1, 21)
"""From which on prepared statements follow a client."""


def require_pgbouncer(version: tuple[int, ...] = (1, 0)) -> str:
    """Return the path of a PgBouncer of this version or a newer one; skip the test where there is none."""
    if BINARY is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    said = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < version:
        pytest.skip(f"{said.splitlines()[0]} is older than {'.'.join(map(str, version))}")
    return BINARY


class PgBouncer:
    """One in front of a PostgreSQL on this machine; its clients log in there with the passwords of `logins`."""

    def __init__(self, directory: Path, postgres_port: int, logins: Mapping[str, str], **settings: str) -> None:
        self._binary = require_pgbouncer()
        self.port = choose_free_port()
        self.directory, self._postgres_port, self._logins = directory, postgres_port, logins
        self._settings = {"pool_mode": "transaction", "max_prepared_statements": "200", **settings}
        self._configure()
        self.start()

    def _configure(self) -> None:
        users, self._file = self.directory / "users.txt", self.directory / "pgbouncer.ini"
        users.write_text("".join(f'"{name}" "{password}"\n' for name, password in self._logins.items()))
        lines = [
            *("[databases]", f"* = host=127.0.0.1 port={self._postgres_port}"),
            *("[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {self.port}", "unix_socket_dir ="),
            *("auth_type = scram-sha-256", f"auth_file = {users}"),
            *(f"{name} = {value}" for name, value in self._settings.items()),
        ]
        self._file.write_text("\n".join(lines))
        if os.geteuid() == 0:
            # It does not go on as root.
            for path in (self._file, users):
                shutil.chown(path, "nobody")

    def start(self) -> None:
        """Run it, in front of a PostgreSQL that runs."""
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        log = self.directory / "pgbouncer.log"
        self._process = ChildProcess("pgbouncer", [self._binary, *account, str(self._file)], log)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def url(self, login: str, database: str) -> str:
        """Return the URL of a database through it."""
        return f"postgresql://{login}:{self._logins[login]}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def kill(self) -> None:
        """End it as a power cut would."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(5)

    def stop(self) -> None:
        """End it."""
        self._process.stop(5)
