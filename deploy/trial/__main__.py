"""Try the compose file on a real engine, from an empty machine to a restored backup: `make trial`, a quarter hour.

ENGINE names another engine than docker. Everything is the trial's own (project, volumes, secrets, port) and is gone
at the end. Standard library only. Exit 0 when all went well, or where there is no engine, which is said; 1 when not.
Long because it is one procedure, to be read from its first step to its last.
"""

import concurrent.futures
import os
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

from engine import ROOT, Project, TrialFailed, ask, require, why_no_engine
from kills import BACK_WITHIN_SECONDS, kill_each
from load import CLIENT, Caller, Load
from operators import look_at_administration, look_at_observability

SERVICES = ("catalog", "activity", "metering")
ALL = ("valkey", "metering-proxy", "proxy", *SERVICES, "postgres")
SETTLED_TIMEOUT_SECONDS = 60.0
CREDITS = 40
CREATES = 120
TRIES = 100
UP = ("up", "--detach", "--wait")
REQUEST_ID = "0af7651916cd43dd8448eb211c80319c"
"""The page's example."""


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
        ["bash", "-ec", tour],
        cwd=project.directory,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    codes = re.findall(r'"code":"(\w+)"', done.stdout)
    expected = ["api_rate_limited", "api_quota_exceeded", "api_balance_exhausted"]
    require(codes == expected, f"the tour ended with {codes}: {done.stdout} {done.stderr}")
    charged = project.query(
        "metering", "SELECT count(*) FROM ledger_entry WHERE client_id = 'demo' AND kind = 'spend'"
    )
    require(charged == "2", f"the tour was charged {charged} times, not twice")


def look_at_configuration(project: Project) -> None:
    """See that one port is published, operators' on the loopback address, and no secret in what Compose shows."""
    _, read = project.configuration()
    published = [port for service in read["services"].values() for port in service.get("ports", [])]
    require(len(published) == 1, f"{len(published)} ports are published")
    text, read = project.configuration("--profile", "*")
    addresses = [port["host_ip"] for service in read["services"].values() for port in service.get("ports", [])]
    require(addresses == ["127.0.0.1"] * 5, f"with all profiles, ports are published at {addresses}")
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
    project.follow("docs/operations/backup.md", "docker compose run --rm metering-migrate audit")


def follow_a_request(project: Project) -> None:
    """Find one request's lines, as the page says, in the logs of the services that it went through."""
    caller = Caller(project.url, "demo")
    caller.log_in()
    headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json"}
    sent = headers | {"X-Request-ID": REQUEST_ID}
    status, text, _ = ask(project.published["PUBLISHED"], "/api/plan-plays", sent, '{"planId": "plan-abc-123"}')
    require(status == 201, f"a create was answered {status} {text}")
    time.sleep(2)
    told = project.follow("docs/operations/observability.md", "docker compose logs activity metering | grep 0af7651")
    for part in ("/api/plan-plays", "/internal/events/authorize", "/internal/events/settle"):
        require(part in told, f"the logs do not tell of {part}: {told}")


def restore(project: Project) -> int:
    """Restore backups, metering's from before some charges, and charge what it forgot; return the plays since."""
    project.follow("docs/operations/backup.md", "for database in catalog activity metering; do")
    later = Load(project.url)
    later.start()
    time.sleep(3)
    later.stop()
    project.run_lines(
        "docker compose exec -T postgres pg_dump --username=postgres --format=custom activity > activity.dump"
    )
    project.follow("docs/operations/backup.md", "docker compose stop proxy metering-proxy catalog activity metering")
    project.follow("docs/operations/backup.md", "docker compose run --rm activity-migrate billing recharge")
    access = ["--metering-url", "http://metering-proxy:8083"]
    access += ["--metering-key-file", "/run/secrets/operator/metering_key"]
    # All callers have stopped: nothing is on its way.
    project.operate("activity", "billing", "recharge", *access, "--in-flight-seconds", "0")
    return later.plays


def bring_up(project: Project) -> None:
    """Bring it up as the pages say, look around, and make it three of activity and two of the others."""
    with step("up, on an empty machine"):
        project.follow("README.md", "make env && docker compose --profile demo up --build --wait")
    with step("configuration"):
        look_at_configuration(project)
    with step("tour"):
        take_tour(project)
    with step("scale to three of activity and two of metering"):
        project.follow("docs/operations/deployment.md", "docker compose up --detach --wait --scale activity=3")
        project.scale(catalog=2, activity=3, metering=2)
        project.compose(*UP)
    with step("more creates at once than credits"):
        spend_all_at_once(project)


def look_around(project: Project, load: Load) -> None:
    """See where the load goes and what operators are told of it, and bring in a version, without a failure."""
    with step("load on all processes"):
        time.sleep(5)
        look_at_spread(project, "activity", 8085, 3)
        look_at_spread(project, "metering", 8086, 2)
        told = project.follow("docs/operations/troubleshooting.md", "docker compose exec metering python -c")
        require("http_request_seconds" in told, f"a service counts {told}")
    with step("one request in the logs"):
        follow_a_request(project)
    with step("profile admin"):
        look_at_administration(project)
    with step("profile observability"):
        look_at_observability(project)
    with step("upgrade, which replaces every process"):
        project.follow("docs/operations/upgrade.md", "make env")
        project.follow("docs/operations/upgrade.md", "docker compose exec postgres psql --username=postgres")
    require(not (failed := load.take_failures()), f"requests failed while nothing was broken: {failed}")


def break_everything(project: Project, load: Load) -> float:
    """Kill the main process of every container, twice, and restart all at once; return the longest way back."""
    longest = 0.0
    for time_of_it in ("first", "second"):
        for service in ALL:
            with step(f"kill -9 of each {service}, {time_of_it} time"):
                longest = max(longest, *kill_each(project, load, service))
    with step("restart of everything"):
        project.compose("restart")
        project.compose(*UP)
    load.take_failures()
    return longest


def rotate(project: Project, load: Load) -> None:
    """Change passwords, keys and the certificate under load, without a failure."""
    for role in ("catalog_service", "activity_service", "metering"):
        with step(f"change the password of {role}"):
            project.run_lines(f"deploy/change-password {role}")
    with step("change the passwords of the owners"):
        project.follow("docs/operations/rotation.md", "rm secrets/postgres/catalog_password")
        project.compose("run", "--rm", "catalog-migrate")
    with step("change activity's key to metering"):
        project.follow("docs/operations/rotation.md", "mv secrets/activity/metering_key")
    with step("change Valkey's password"):
        recreate = "docker compose up --detach --wait --force-recreate --no-deps valkey"
        project.run_lines(f"rm secrets/valkey/password; make env; {recreate}; deploy/roll metering")
    with step("have the proxy read its certificate anew"):
        project.run_lines("docker compose kill --signal SIGUSR2 proxy")
        require(load.wait_for_new(10), "nothing is sold after the proxy was told to read its certificate")
    require(not (failed := load.take_failures()), f"requests failed while secrets were changed: {failed}")


def try_all(project: Project) -> None:
    """Do all of it, one step after the other."""
    bring_up(project)
    load = Load(project.url)
    load.start()
    try:
        look_around(project, load)
        longest = break_everything(project, load)
        rotate(project, load)
    finally:
        load.stop()
    require(not load.gave_up, f"callers gave up: {load.gave_up}")
    plays = load.plays
    with step(f"books of {plays} plays"):
        look_at_books(project, plays)
    with step("restore metering from a backup, charge what it forgot"):
        plays += restore(project)
        look_at_books(project, plays)
    with step("down, and up with the data"):
        project.compose("down")
        project.follow("docs/operations/deployment.md", "make env")
        look_at_books(project, plays)
    busy = f"{os.getloadavg()[0]:.0f} processes want {os.cpu_count()} cores"
    require(longest <= BACK_WITHIN_SECONDS, f"all well, but one was back only after {longest:.1f} s; {busy}")


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
            project.remove()
    print("trial: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
