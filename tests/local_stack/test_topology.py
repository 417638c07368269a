"""The table of processes, and the environment each service gets."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from local_stack.errors import StackError
from local_stack.ports import choose_free_port
from local_stack.processes import REPOSITORY
from local_stack.redis_server import RedisServer
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import SECRET_NAMES
from local_stack.topology import (
    PORT_BLOCK,
    POSTGRES_PORT_OFFSET,
    REDIS_PORT_OFFSET,
    SERVICES,
    port_base_from,
    require_free_ports,
)
from local_stack.welcome import render_tour

SECRETS = {name: f"the-{name}" for name in SECRET_NAMES}


def build(callers: dict[str, str] | None = None) -> dict[str, ServiceEnvironment]:
    dsns = {service.name: f"postgresql://{service.name}" for service in SERVICES}
    return build_environments(9000, dsns, "redis://here", SECRETS, callers or {})


def test_nobody_starts_before_what_it_needs() -> None:
    started = {"postgres", "redis"}
    for service in SERVICES:
        assert started.issuperset(service.needs)
        started.add(service.name)


def test_services_take_the_first_three_ports_in_the_documented_order() -> None:
    environments = build()
    assert [environments[name].port for name in ("catalog", "activity", "metering")] == [9000, 9001, 9002]
    assert [environments[name].operations_port for name in ("catalog", "activity", "metering")] == [9003, 9004, 9005]
    assert [environments[name].admin_port for name in ("catalog", "activity", "metering")] == [9006, None, 9007]


def test_a_block_of_ports_has_one_for_each_that_listens() -> None:
    services = [port for service in SERVICES for port in (service.port_offset, service.operations_port_offset)]
    admin = [service.admin_port_offset for service in SERVICES if service.admin_port_offset is not None]
    assert sorted([*services, *admin, POSTGRES_PORT_OFFSET, REDIS_PORT_OFFSET]) == list(range(PORT_BLOCK))


def test_a_variable_the_caller_set_wins_and_the_others_follow_it() -> None:
    callers = {"ACTIVITY_RESOLVE_AFTER_SECONDS": "2", "METERING_PORT": "9900", "CATALOG_PORT": "9901", "HOME": "/x"}
    environments = build(callers)
    activity = environments["activity"].variables
    assert activity["ACTIVITY_RESOLVE_AFTER_SECONDS"] == "2"
    assert activity["ACTIVITY_METERING_URL"] == "http://127.0.0.1:9900"
    assert activity["ACTIVITY_JWKS_URL"] == "http://127.0.0.1:9901/.well-known/jwks.json"
    assert environments["catalog"].variables["CATALOG_TOKEN_ISSUER"] == activity["ACTIVITY_TOKEN_ISSUER"]
    assert "HOME" not in activity


def test_metering_knows_only_hashes_of_the_keys() -> None:
    variables = build()["metering"].variables
    keys = dict(entry.rsplit(":", 1) for entry in variables["METERING_SERVICE_KEYS"].split(","))
    assert keys["events:activity"] == hashlib.sha256(b"the-events_key").hexdigest()
    assert not any("the-events_key" in value for value in variables.values())


def test_catalog_knows_only_the_hash_of_its_admin_key() -> None:
    variables = build()["catalog"].variables
    assert variables["CATALOG_ADMIN_KEYS"] == f"ops:{hashlib.sha256(b'the-catalog_admin_key').hexdigest()}"
    assert not any("the-catalog_admin_key" in value for value in variables.values())


@pytest.mark.parametrize("text", ["80a", "0", "65527", "-1"])
def test_a_port_base_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(StackError, match="STACK_PORT_BASE must be a port number"):
        port_base_from({"STACK_PORT_BASE": text})


def test_the_default_port_base_is_8081() -> None:
    assert port_base_from({}) == port_base_from({"STACK_PORT_BASE": ""}) == 8081


def test_a_busy_port_is_named_with_who_wanted_it_and_the_way_out(redis_server: RedisServer) -> None:
    wanted = {"catalog": choose_free_port(), "metering": redis_server.port}
    with pytest.raises(StackError, match=rf"port {redis_server.port}, wanted for metering, .*STACK_PORT_BASE"):
        require_free_ports(wanted, 9000)


def test_the_tour_is_a_script_a_plain_shell_understands() -> None:
    tour = render_tour(Path("/srv/it's here"))
    assert "export STACK_DIR='/srv/it'\"'\"'s here'\n" in tour
    assert "STACK_DIR" not in render_tour(REPOSITORY / ".local")
    shell = shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n"], input=tour, text=True, check=True)
