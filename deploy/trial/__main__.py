"""Try the compose file on a real engine, from an empty machine to a restored backup: `make trial`, some ten minutes.

ENGINE names another engine than docker. Everything is the trial's own (project, volumes, secrets, port) and is gone
at the end. Standard library only. Exit 0 when all went well, or where there is no engine, which is said; 1 when not.
"""

import concurrent.futures
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine import ROOT, Project, TrialFailed, require, why_no_engine
from load import CLIENT, Caller, Load

SERVICES = ("catalog", "activity", "metering")
ALL = ("valkey", "metering-proxy", "proxy", *SERVICES, "postgres")
SETTLED_TIMEOUT_SECONDS = 60.0
CREDITS = 40
CREATES = 120
TRIES = 100
UP = ("up", "--detach", "--wait", "--scale", "activity=3", "--scale", "metering=2")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is tried, and how long it took."""
    print(f"{name} ...", end=" ", flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def take_tour(project: Project) -> None:
    """Take the tour as a person would who has no other stack here, and see what it was charged for."""
    tour = (ROOT / "local_stack" / "tour.sh").read_text().replace("./ctl ", "./ctl --compose ")
    done = subprocess.run(
        ["bash", "-ec", tour], cwd=ROOT, env=project.environment, capture_output=True, text=True, check=False
    )
    codes = re.findall(r'"code":"(\w+)"', done.stdout)
    expected = ["api_rate_limited", "api_quota_exceeded", "api_balance_exhausted"]
    require(codes == expected, f"the tour ended with {codes}: {done.stdout} {done.stderr}")
    charged = project.query(
        "metering", "SELECT count(*) FROM ledger_entry WHERE client_id = 'demo' AND kind = 'spend'"
    )
    require(charged == "2", f"the tour was charged {charged} times, not twice")


def look_at_configuration(project: Project) -> None:
    """See that one port is published, and that no secret stands in what Compose shows."""
    text, read = project.configuration()
    published = [port for service in read["services"].values() for port in service.get("ports", [])]
    require(len(published) == 1, f"{len(published)} ports are published")
    for path in (project.directory / "secrets").rglob("*"):
        if path.is_file():
            require(path.read_text().strip() not in text, f"the configuration shows {path.name}")


def spend_all_at_once(project: Project) -> None:
    """Create more plays at once than there are credits for, and see that all credits and no more are sold."""
    project.operate("metering", "grant", "demo-credits", str(CREDITS), "--grant-id", "trial")

    def create(_: int) -> tuple[int, Any]:
        caller, key = Caller(project.url, "demo-credits"), str(uuid.uuid4())
        caller.log_in()
        # A fault decides nothing: it is asked again, with its key.
        for _ in range(TRIES):
            status, document = caller.call("POST", "/api/plan-plays", {"planId": "plan-abc-123"}, key)
            if status in (201, 429):
                return status, document
        raise TrialFailed(f"a create was not decided in {TRIES} tries: {status} {document}")

    with concurrent.futures.ThreadPoolExecutor(16) as callers:
        statuses = [status for status, _ in callers.map(create, range(CREATES))]
    # What a request gave up was held for a while, and is for sale again.
    while (last := create(0))[0] == 201 or last[1]["retryAfterSeconds"] is not None:
        statuses.append(last[0])
    sold = statuses.count(201)
    require(sold == CREDITS, f"{sold} of {CREDITS} credits were sold")


def look_at_spread(project: Project, service: str, port: int, count: int) -> None:
    """See that each process of a service has had its part of the requests."""
    ask = (
        f"import urllib.request as r; t = r.urlopen('http://127.0.0.1:{port}/metrics').read().decode();"
        "print(sum(float(l.split()[-1]) for l in t.splitlines() if l.startswith('http_request_seconds_count')))"
    )
    answered = [
        float(project.engine("exec", container, "python", "-c", ask)) for container in project.containers(service)
    ]
    require(len(answered) == count, f"{len(answered)} processes of {service} run, not {count}")
    require(min(answered) * 4 > max(answered), f"{service}: the load is not spread: {answered}")


def look_at_books(project: Project, plays: int) -> None:
    """See that every acknowledged play is there, that it and its completion are charged once, and both audits."""
    expected = f"plan_play.completed|{plays}\nplan_play.created|{plays}"
    statement = (
        "SELECT event_type, count(*) FROM ledger_entry "
        f"WHERE client_id = '{CLIENT}' AND kind = 'spend' GROUP BY 1 ORDER BY 1"
    )
    deadline = time.monotonic() + SETTLED_TIMEOUT_SECONDS
    while (charged := project.query("metering", statement)) != expected and time.monotonic() < deadline:
        time.sleep(1)
    require(charged == expected, f"charged {charged.splitlines()}, acknowledged {plays}")
    stored = project.query("activity", f"SELECT count(*) FROM plan_play WHERE client_id = '{CLIENT}'")
    require(stored == str(plays), f"{stored} plays are stored, acknowledged {plays}")
    project.operate("metering", "audit")
    audit_both(project)


def audit_both(project: Project) -> None:
    """Hold every play against its charge."""
    key = "/run/secrets/operator/metering_key"
    project.operate("activity", "audit", "--metering-url", "http://metering-proxy:8083", "--metering-key-file", key)


def change_service_key(project: Project) -> None:
    """Draw activity's key to metering anew; both are good meanwhile."""
    key = project.directory / "secrets" / "activity" / "metering_key"
    previous = key.rename(key.with_name("previous_metering_key"))
    project.write_env()
    project.roll("metering", "activity")
    previous.unlink()
    project.write_env()
    project.roll("metering")


def restore_metering(project: Project, url: str) -> int:
    """Take metering back to a backup that is older than some charges, and charge what it forgot; return the plays."""
    backup = project.compose(
        "exec", "-T", "postgres", "pg_dump", "--username=postgres", "--format=custom", "metering"
    )
    later = Load(url)
    later.start()
    time.sleep(3)
    later.stop()
    project.compose("stop", "metering", "activity")
    restore = [
        "pg_restore",
        "--username=postgres",
        "--dbname=metering",
        "--clean",
        "--if-exists",
        "--single-transaction",
    ]
    project.compose("exec", "-T", "postgres", *restore, stdin=backup)
    project.compose(*UP)
    access = [
        "--metering-url",
        "http://metering-proxy:8083",
        "--metering-key-file",
        "/run/secrets/operator/metering_key",
    ]
    # All callers have stopped: nothing is on its way.
    project.operate("activity", "billing", "recharge", *access, "--in-flight-seconds", "0")
    return later.plays


def try_all(project: Project) -> None:
    """Do all of it, one step after the other."""
    project.write_env()
    with step("up, on an empty machine"):
        project.compose("up", "--build", "--detach", "--wait")
    with step("configuration"):
        look_at_configuration(project)
    with step("tour"):
        take_tour(project)
    with step("scale to three of activity and two of metering"):
        project.compose(*UP)
    load = Load(project.url)
    with step("more creates at once than credits"):
        spend_all_at_once(project)
    load.start()
    try:
        with step("load on all processes"):
            time.sleep(5)
            look_at_spread(project, "activity", 8085, 3)
            look_at_spread(project, "metering", 8086, 2)
        require(not (failed := load.take_failures()), f"requests failed while nothing else happened: {failed}")
        with step("replace every process under load"):
            project.roll(*SERVICES)
        require(not (failed := load.take_failures()), f"requests failed while processes were replaced: {failed}")
        for service in ALL:
            with step(f"kill -9 of each {service}"):
                for container in project.containers(service):
                    project.engine("kill", "--signal", "KILL", container)
                    project.engine("start", container)
                project.compose(*UP)
        with step("restart of everything"):
            project.compose("restart")
            project.compose(*UP)
        print(f"  requests that failed, and were repeated: {load.take_failures()}")
        with step("change the passwords of the databases"):
            for role in ("catalog_service", "activity_service", "metering"):
                project.change_password(role)
        require(not (failed := load.take_failures()), f"requests failed while passwords were changed: {failed}")
        with step("change a service key"):
            change_service_key(project)
        require(not (failed := load.take_failures()), f"requests failed while a key was changed: {failed}")
    finally:
        load.stop()
    require(not load.gave_up, f"callers gave up: {load.gave_up}")
    with step(f"books of {load.plays} plays"):
        look_at_books(project, load.plays)
    with step("restore metering from a backup, charge what it forgot"):
        plays = load.plays + restore_metering(project, project.url)
    with step("down, and up with the data"):
        project.compose("down")
        project.compose(*UP)
        look_at_books(project, plays)


def main() -> int:
    """Run it where there is an engine; clean up whatever happens."""
    if reason := why_no_engine():
        print(f"trial: skipped, {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="trial-") as directory:
        project = Project(Path(directory))
        try:
            try_all(project)
        except TrialFailed as failure:
            print(f"\ntrial: {failure}\n{project.last_errors()}", file=sys.stderr)
            return 1
        finally:
            project.compose("down", "--volumes", "--timeout", "5")
    print("trial: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
