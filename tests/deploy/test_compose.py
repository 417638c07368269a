"""The compose file and the secrets that it reads, looked at without an engine; deploy/trial runs them on one.

Long because one file is looked at, from every side.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from activity_service.settings import ActivitySettings
from catalog_service.settings import CatalogSettings
from metering_service.settings import MeteringSettings
from service_chassis import background, own_secrets
from service_chassis.database import pool
from service_chassis.http.server import SHUTDOWN_TIMEOUT_SECONDS
from service_chassis.operations import spans
from tests.configuration_table import describe_settings

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKER = shutil.which("docker")
PROCESSES = ("catalog", "activity", "metering")
SETTINGS = {"catalog": CatalogSettings, "activity": ActivitySettings, "metering": MeteringSettings}


def write_env(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy" / "write_env.py")]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def read_secrets(directory: Path) -> dict[str, str]:
    files = [path for path in (directory / "secrets").rglob("*") if path.is_file()]
    return {str(path.relative_to(directory / "secrets")): path.read_text() for path in files}


def mounts(service: dict[str, Any]) -> list[list[str]]:
    """Return source, target and options of each mount."""
    return [re.sub(r":\?[^}]*", "", mount).split(":") for mount in service.get("volumes", [])]


def test_the_proxy_is_the_only_one_that_can_be_reached_and_has_no_way_to_metering_or_databases() -> None:
    always = {name: service for name, service in SERVICES.items() if "profiles" not in service}
    assert [name for name, service in always.items() if "ports" in service] == ["proxy"]
    assert len(SERVICES["proxy"]["ports"]) == 1
    outward = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    assert outward == {"public", "admin", "operators"}
    assert [name for name, service in SERVICES.items() if "public" in service["networks"]] == ["proxy"]
    assert [name for name, service in always.items() if "admin" in service["networks"]] == []
    beside_it = {name for name, service in SERVICES.items() if "edge" in service["networks"]}
    assert beside_it == {"proxy", "catalog", "activity", "prometheus"}


def test_administration_is_published_on_the_hosts_loopback_and_only_where_it_is_asked_for() -> None:
    admin = SERVICES["admin-proxy"]
    assert admin["profiles"] == ["admin"]
    listeners = [str(CatalogSettings.admin_port), str(MeteringSettings.admin_port)]
    assert admin["ports"] == [
        f"${{{name}_ADMIN_PUBLISHED:-127.0.0.1:{port}}}:{port}"
        for name, port in zip(("CATALOG", "METERING"), listeners, strict=True)
    ]
    leads_to = {
        name: re.findall(r"server-template \w+ \d+ (\S+)", (ROOT / f"deploy/{name}/haproxy.cfg").read_text())
        for name in ("admin-proxy", "proxy")
    }
    assert leads_to["admin-proxy"] == [f"catalog:{listeners[0]}", f"metering:{listeners[1]}"]
    assert leads_to["proxy"] == ["catalog:8081", "activity:8082"]


def test_operators_pages_are_published_on_the_hosts_loopback_alone_and_only_where_they_are_asked_for() -> None:
    pages = {name: service for name, service in SERVICES.items() if "operators" in service["networks"]}
    assert pages.keys() == {"prometheus", "grafana"}
    for name, page in pages.items():
        assert page["profiles"] == ["observability"]
        [port] = page["ports"]
        assert port.startswith(f"${{{name.upper()}_PUBLISHED:-127.0.0.1:"), port
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", page["image"]), page["image"]
    assert pages["grafana"]["networks"] == ["operators"], "it needs Prometheus and nothing else"


@pytest.mark.parametrize("name", [*PROCESSES, "proxy", "metering-proxy", "admin-proxy", "prometheus", "grafana"])
def test_what_serves_may_write_nothing_and_has_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {"mem_limit", "pids_limit", "stop_grace_period", "healthcheck", "logging"} <= service.keys()
    assert "python" not in service["healthcheck"]["test"]


def test_a_change_of_one_services_environment_is_no_change_of_another() -> None:
    for name in PROCESSES:
        owned = SERVICES[name]["environment"].keys() | SERVICES[f"{name}-migrate"]["environment"].keys()
        assert {variable.split("_")[0] for variable in owned - {"LOCAL_ONLY"}} == {name.upper()}
        assert f"{name}-migrate" in SERVICES[name]["depends_on"]
        # Whoever depends on a container is made anew with it.
        dependents = {other for other, service in SERVICES.items() if name in service.get("depends_on", {})}
        assert dependents == set()


@pytest.mark.parametrize("name", PROCESSES)
def test_every_variable_of_a_process_is_one_of_its_settings(name: str) -> None:
    given = {variable.removesuffix("_FILE") for variable in SERVICES[name]["environment"]}
    assert given - {each.variable for each in describe_settings(SETTINGS[name])} == {"LOCAL_ONLY"}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_has_time_to_drain_and_to_end(name: str) -> None:
    drain_seconds = SERVICES[name]["environment"][f"{name.upper()}_DRAIN_SECONDS"]
    # Last rounds of background work and their calls, the pools, and the last spans.
    closing_seconds = 2 * background.CLOSE_TIMEOUT_SECONDS + 3 * pool.CLOSE_TIMEOUT_SECONDS
    closing_seconds += spans.CLOSE_TIMEOUT_SECONDS
    longest = drain_seconds + SHUTDOWN_TIMEOUT_SECONDS + closing_seconds
    assert longest <= float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    # Two looks of a proxy, and the time it may take to ask the engine for addresses.
    assert drain_seconds >= 2


def test_demo_data_is_put_in_only_where_it_is_asked_for() -> None:
    assert SERVICES["seed"]["profiles"] == ["demo"]


def test_bind_mounts_are_read_only_and_labelled() -> None:
    binds = [
        mount for service in SERVICES.values() for mount in mounts(service) if mount[0] not in COMPOSE["volumes"]
    ]
    assert len(binds) > 10
    assert [mount for mount in binds if mount[2] != "ro,z"] == []


def test_every_secret_that_a_container_reads_is_written(tmp_path: Path) -> None:
    assert write_env(tmp_path).returncode == 0
    written = read_secrets(tmp_path)
    read: set[str] = set()
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                [source] = [mount[0] for mount in mounts(service) if mount[1] == str(Path(value).parent)]
                read.add(source.removeprefix("${SECRETS}/") + "/" + Path(value).name)
    assert len(read) > 9
    assert read - written.keys() == set()
    passwords = set(re.findall(r"set_password (\w+)$", (ROOT / "deploy/postgres/create-databases.sh").read_text()))
    assert {f"postgres/{name}_password" for name in passwords} <= written.keys()


def test_secrets_are_drawn_once_and_each_that_is_deleted_is_drawn_anew(tmp_path: Path) -> None:
    write_env(tmp_path)
    first = read_secrets(tmp_path)
    write_env(tmp_path)
    assert read_secrets(tmp_path) == first
    (tmp_path / "secrets/postgres/catalog_service_password").unlink()
    write_env(tmp_path)
    second = read_secrets(tmp_path)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"postgres/catalog_service_password", "catalog/postgres_dsn"}
    assert second["postgres/catalog_service_password"].strip() in second["catalog/postgres_dsn"]
    drawn = [text for name, text in second.items() if name.endswith(("password", "_key"))]
    assert len(set(drawn)) == len(drawn) > 8
    assert all(len(text) > 40 for text in drawn)


@pytest.mark.parametrize(
    ("key", "accepted"),
    [
        ("activity/metering_key", "metering/service_keys"),
        ("operator/metering_key", "metering/service_keys"),
        ("operator/catalog_key", "catalog/admin_keys"),
    ],
)
def test_two_keys_are_good_while_one_is_changed(tmp_path: Path, key: str, accepted: str) -> None:
    def list_accepted() -> list[str]:
        write_env(tmp_path)
        return read_secrets(tmp_path)[accepted].strip().split(",")

    before = list_accepted()
    file = tmp_path / "secrets" / key
    replaced = hashlib.sha256(file.read_text().strip().encode()).hexdigest()
    file.rename(file.with_name(f"previous_{file.name}"))
    during = list_accepted()
    assert len(during) == len(before) + 1
    assert set(before) <= set(during)
    file.with_name(f"previous_{file.name}").unlink()
    assert set(list_accepted()) == {entry for entry in during if not entry.endswith(replaced)}


def test_an_empty_secret_is_refused_by_its_file(tmp_path: Path) -> None:
    write_env(tmp_path)
    (tmp_path / "secrets/valkey/password").write_text("\n")
    refused = write_env(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("make env: secrets/valkey/password is empty")


def test_nobody_else_gets_into_the_secrets_and_containers_can_read_them(tmp_path: Path) -> None:
    write_env(tmp_path)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "secrets").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_containers_can_read_what_is_mounted_of_a_clone_that_its_owner_alone_could_read(tmp_path: Path) -> None:
    for name in ("deploy", "local_stack"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in tmp_path.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    command = [sys.executable, str(tmp_path / "deploy" / "write_env.py")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    sources = [mount[0] for service in SERVICES.values() for mount in mounts(service) if mount[0].startswith("./")]
    mounted = [path for source in sources for path in (tmp_path / source, *(tmp_path / source).rglob("*"))]
    assert len(mounted) > 20
    for path in mounted:
        wanted = 0o005 if path.is_dir() else 0o004
        assert path.stat().st_mode & wanted == wanted, path


def has_compose() -> bool:
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False) if DOCKER else None
    return done is not None and done.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="Compose is not installed: what it makes of the file is not read")
@pytest.mark.parametrize(("profile", "ports"), [("", 1), ("demo", 1), ("admin", 3), ("*", 5)])
def test_what_compose_shows_with_a_filled_environment_has_no_secret_and_publishes_what_is_asked_for(
    tmp_path: Path, profile: str, ports: int
) -> None:
    write_env(tmp_path)
    files = ["--file", str(ROOT / "docker-compose.yml"), "--env-file", ".env"]
    command = ["docker", "compose", *files, "--profile", profile, "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SECRETS": str(tmp_path / "secrets")}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    published = [port for service in json.loads(shown)["services"].values() for port in service.get("ports", [])]
    assert [port["host_ip"] for port in published] == ["127.0.0.1"] * ports
    drawn = {text.strip() for text in read_secrets(tmp_path).values()}
    assert [secret for secret in drawn if secret in shown] == []
    values = [
        value
        for service in json.loads(shown)["services"].values()
        for value in service.get("environment", {}).values()
    ]
    assert not own_secrets._KNOWN_TO_ALL & set(values) - {""}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed: its configuration is not read")
@pytest.mark.parametrize("directory", ["proxy", "metering-proxy", "admin-proxy"])
def test_a_proxys_configuration_is_one_without_warnings(directory: str) -> None:
    command = ["haproxy", "-c", "-q", "-f", str(ROOT / "deploy" / directory / "haproxy.cfg")]
    read = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin:/usr/bin"})
    assert read.returncode == 0, read.stderr
    assert "[WARNING]" not in read.stderr


def test_the_page_on_webhooks_gives_metering_a_way_out_and_a_file_that_it_can_see() -> None:
    """Its own networks lead nowhere: every receiver would be out of reach."""
    page = (ROOT / "docs" / "webhooks.md").read_text()
    [block] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    override = yaml.safe_load(block)
    metering = override["services"]["metering"]
    networks = {**COMPOSE["networks"], **override["networks"]}
    assert set(metering["networks"]) >= set(SERVICES["metering"]["networks"])
    assert not all((networks[name] or {}).get("internal") for name in metering["networks"])
    [(variable, path)] = metering["environment"].items()
    [(source, target, _)] = mounts(SERVICES["metering"])
    assert variable == "METERING_WEBHOOKS_FILE"
    assert Path(path).parent == Path(target)
    assert f"secrets/{Path(source).name}/{Path(path).name}" in page


def test_a_trial_without_an_engine_is_skipped_and_says_so() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "trial")]
    environment = {"PATH": "/usr/bin:/bin", "ENGINE": "no-such-engine"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "trial: skipped, no-such-engine is not there\n")
