"""Write what docker-compose.yml reads: .env, and a directory of secrets, drawn at random where there are none yet.

`make env` runs it. What is there stays as it is; what is made from other secrets (URLs with a password in them,
hashes of keys) is written anew each time. So to change one, delete its file, run this, and do what
docs/operations/rotation.md says. Standard library only: it runs before there is a virtual environment.
"""

import hashlib
import os
import secrets
import sys
from pathlib import Path

SETTINGS = """\
# Written by make env. What there is to set: docs/operations/configuration.md.
# Where the secrets are, each service's in a directory of its own
SECRETS=./secrets
# Address and port of the one public host
PUBLISHED=127.0.0.1:8080
# yes: PUBLISHED speaks TLS, with certificate chain and key from secrets/proxy/tls.pem
TLS=no
# yes: secrets may be empty or widely known
LOCAL_ONLY=no
CATALOG_PROCESSES=1
ACTIVITY_PROCESSES=1
METERING_PROCESSES=1
"""

ROLES = ("catalog", "catalog_service", "activity", "activity_service", "metering")
"""Roles of PostgreSQL: the owner of each database, and whom the two public services log in as."""


MOUNTED = ("deploy", "local_stack")
"""Of the repository, in docker-compose.yml."""


def open_mounted(root: Path) -> None:
    """Let containers read what is mounted from the repository, whatever the umask of whoever cloned it.

    Their users are strangers to this machine.
    """
    for path in [
        each for name in MOUNTED if (root / name).is_dir() for each in (root / name, *(root / name).rglob("*"))
    ]:
        mode = path.stat().st_mode
        readable = mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444)
        if mode != readable:
            try:
                path.chmod(readable)
            except PermissionError:
                sys.exit(f"make env: {path} is not yours, and has to be readable by all")


def write_secrets(directory: Path) -> None:
    """Draw the secrets that are absent, and write whatever is made from them.

    Nobody but the owner gets into `directory`. The files in it can be read by all: services in containers are users
    that this machine does not know.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    (directory / "proxy").mkdir(exist_ok=True)

    def keep(name: str) -> str:
        file = directory / name
        if not file.exists():
            return put(name, secrets.token_hex(24))
        return file.read_text().strip() or sys.exit(f"make env: {file} is empty; delete it and it is drawn anew")

    def put(name: str, text: str) -> str:
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        file.parent.chmod(0o755)
        draft = file.with_name(file.name + ".new")
        draft.write_text(text + "\n", newline="\n")
        draft.chmod(0o644)
        draft.replace(file)
        return text

    def name_database(role: str, database: str) -> str:
        return f"postgresql://{role}:{passwords[role]}@postgres:5432/{database}"

    keep("postgres/postgres_password")
    passwords = {role: keep(f"postgres/{role}_password") for role in ROLES}
    put("catalog-migrate/postgres_dsn", name_database("catalog", "catalog"))
    put("catalog/postgres_dsn", name_database("catalog_service", "catalog"))
    put("activity-migrate/postgres_dsn", name_database("activity", "activity"))
    put("activity/postgres_dsn", name_database("activity_service", "activity"))
    put("metering/postgres_dsn", name_database("metering", "metering"))

    rates = keep("valkey/password")
    put("valkey/valkey.conf", f"requirepass {rates}")
    put("metering/redis_url", f"redis://:{rates}@valkey:6379/0")

    keep("grafana/admin_password")

    def accept(owner: str, key: str, whose: str) -> list[str]:
        names = [key]
        # While a key is changed, the one before it is accepted, too.
        if (directory / owner / f"previous_{key}").exists():
            names.append(f"previous_{key}")
        return [f"{whose}:{hashlib.sha256(keep(f'{owner}/{name}').encode()).hexdigest()}" for name in names]

    events = accept("activity", "metering_key", "events:activity")
    put("metering/service_keys", ",".join(events + accept("operator", "metering_key", "admin:ops")))
    put("catalog/admin_keys", ",".join(accept("operator", "catalog_key", "ops")))


def main() -> None:
    """Write both into the current directory, and say where."""
    os.umask(0o022)
    settings = Path(".env")
    if not settings.exists():
        settings.write_text(SETTINGS, newline="\n")
    lines = settings.read_text().splitlines()
    where = [line.partition("=")[2] for line in lines if line.startswith("SECRETS=")]
    if not where or not where[-1]:
        sys.exit("make env: .env must have a line SECRETS=DIRECTORY; delete it and it is written anew")
    directory = Path(where[-1])
    write_secrets(directory)
    open_mounted(Path(__file__).parent.parent)
    print(f"{settings} and {directory} are there: docker compose up --build --wait")


if __name__ == "__main__":
    main()
