"""pgbench, PostgreSQL's own load: what a database does with a transaction when nothing stands in front of it."""

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from bench.cores import SERVICE_CORE, on_core
from bench.errors import BenchError
from bench.wrk import Load
from local_stack.postgres_server import find_binaries

GRACE_SECONDS = 60.0


def find_pgbench() -> Path:
    """Return its path: of the server's own version, else the system's. Raises BenchError."""
    own = find_binaries() / "pgbench"
    found = own if own.exists() else shutil.which("pgbench")
    if found is None:
        raise BenchError("pgbench is not installed: apt-get install postgresql-contrib, or the like")
    return Path(found)


def run_pgbench(dsn: str, script: Path, *, seconds: int, connections: int, **variables: int) -> Load:
    """Repeat the transaction of `script`, prepared; pgbench runs where the service would. Raises BenchError."""
    address = urlsplit(dsn)
    with tempfile.TemporaryDirectory() as directory:
        command = [find_pgbench(), "--no-vacuum", "--protocol=prepared", f"--client={connections}", "--jobs=1"]
        command += [f"--time={seconds}", f"--file={script}", "--log", f"--log-prefix={directory}/log"]
        command += [f"--define={name}={value}" for name, value in variables.items()]
        command += ["-h", str(address.hostname), "-p", str(address.port), "-U", str(address.username)]
        with on_core(SERVICE_CORE):
            done = subprocess.run(
                [*map(str, command), address.path.strip("/")],
                capture_output=True,
                text=True,
                env={"PGPASSWORD": address.password or ""},
                timeout=seconds + GRACE_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            raise BenchError(f"pgbench failed: {done.stderr.strip()[-500:]}")
        # client, transaction, microseconds, ...: a line for each transaction
        lines = "".join(file.read_text() for file in Path(directory).iterdir()).splitlines()
    taken = [int(line.split()[2]) / 1e6 for line in lines]
    hundredths = statistics.quantiles(taken, n=100)
    return Load(len(taken), float(seconds), refused=0, broken=0, p50=hundredths[49], p99=hundredths[98])
