"""What the profiles `admin` and `observability` bring, looked at through this machine's loopback, as operators do."""

import json
import time
from typing import Any
from urllib.parse import quote, urlencode

from engine import PAGES, Project, ask, require

TARGETS = ("catalog", "activity", "metering", "proxy", "metering-proxy")
SCRAPED_TIMEOUT_SECONDS = 90.0
"""Prometheus looks for processes, and asks them, every 15 s each."""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ADMINISTRATION = ("/console/login", "/admin/clients", "/internal/policies")


def look_at_administration(project: Project) -> None:
    """Log in to the console, list clients and policies, and see that the public host has none of that."""
    # With the profile that was there before: without it the proxy is made anew (docs/operations/deployment.md).
    project.compose("--profile", "demo", "--profile", "admin", "up", "--wait")
    catalog, metering = (project.published[f"{service}_ADMIN_PUBLISHED"] for service in ("CATALOG", "METERING"))
    catalog_key, metering_key = (project.read_secret(f"operator/{name}_key") for name in ("catalog", "metering"))

    status, page, _ = ask(metering, "/console/login")
    require(status == 200 and 'name="key"' in page, f"the console's login page: {status} {page}")
    origin = {"Origin": f"http://{metering}"}
    status, _, cookie = ask(metering, "/console/login", FORM | origin, urlencode({"key": metering_key}))
    require(status == 303 and bool(cookie), f"the console's login: {status}")
    status, page, _ = ask(metering, "/console/clients", {"Cookie": cookie})
    require(status == 200 and "demo-unlimited" in page, f"the console's clients: {status} {page}")

    for address, path, key, known in (
        (catalog, "/admin/clients", catalog_key, "demo-unlimited"),
        (metering, "/internal/policies", metering_key, "policyId"),
    ):
        status, text, _ = ask(address, path, {"Authorization": f"Bearer {key}"})
        require(status == 200 and known in text, f"{path}: {status} {text}")
        require(ask(address, path)[0] == 401, f"{path} is answered without a key")
    for path in ADMINISTRATION:
        status = ask(project.published["PUBLISHED"], path)[0]
        require(status == 404, f"{path} of the public host: {status}")
    project.compose("rm", "--stop", "--force", "admin-proxy")


def look_at_observability(project: Project) -> None:
    """See that every process is scraped, and that rules and decisions are there; say what cannot be tried here."""
    services = project.configuration("--profile", "observability")[1]["services"]
    pages = [page.lower() for page in PAGES]
    there = [page for page in pages if project.has_image(services[page]["image"])]
    for page in pages:
        if page not in there:
            print(f"(left out: {page}, {services[page]['image']} cannot be had here)", end=" ", flush=True)
    if there:
        project.compose("up", "--detach", "--wait", "--no-deps", *there)
    if "prometheus" in there:
        look_at_prometheus(project)
    if there:
        project.compose("rm", "--stop", "--force", *there)


def look_at_prometheus(project: Project) -> None:
    """See that it has every process of every service, all rules, and what the load does."""
    wanted = {job: len(project.containers(job)) for job in TARGETS}
    deadline = time.monotonic() + SCRAPED_TIMEOUT_SECONDS
    while (found := query(project, "sum by (job) (up)", "job")) != wanted and time.monotonic() < deadline:
        time.sleep(1)
    require(found == wanted, f"Prometheus reaches {found} of {wanted}")
    groups = read(project, "rules")["groups"]
    broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    require(bool(groups) and not broken, f"rules of Prometheus that do not work: {broken or 'there are none'}")
    decided = query(project, "sum by (decision) (metering_decisions_total)", "decision")
    require(decided.get("granted", 0) > 0, f"Prometheus knows of {decided} decisions")


def query(project: Project, expression: str, label: str) -> dict[str, float]:
    """Return an expression's present values, by a label."""
    found = read(project, f"query?query={quote(expression)}")["result"]
    return {each["metric"][label]: float(each["value"][1]) for each in found}


def read(project: Project, path: str) -> Any:
    """Return what Prometheus's API answers."""
    status, text, _ = ask(project.published["PROMETHEUS_PUBLISHED"], f"/api/v1/{path}")
    require(status == 200, f"Prometheus, {path}: {status} {text}")
    return json.loads(text)["data"]
