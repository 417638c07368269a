"""Start everything in order, announce it, stay, stop everything backwards."""

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from local_stack.demo import CLIENTS
from local_stack.processes import Processes
from local_stack.seed import make_console_link, seed_catalog, seed_metering
from local_stack.servers import PostgresServer, RedisServer, create_databases, dsn_for_database
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import StateDirectory, directory_from, lock_state_directory
from local_stack.topology import (
    DATABASES,
    GUEST,
    POSTGRES_PORT_OFFSET,
    REDIS_PORT_OFFSET,
    port_base_from,
    require_free_ports,
)
from local_stack.welcome import render_welcome

Report = Callable[[str], None]
"""Takes one line of progress at a time."""


class StopRequested(BaseException):
    """Somebody wants the stack to end: Ctrl-C, SIGTERM, a closed terminal. Not a fault."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to run, known before anything does. A server that is None is somebody else's."""

    port_base: int
    secrets: Mapping[str, str]
    postgres: PostgresServer | None
    administrator_dsn: str
    dsns: Mapping[str, str]
    redis: RedisServer | None
    redis_url: str
    environments: Mapping[str, ServiceEnvironment]

    def wanted_ports(self) -> dict[str, int]:
        """Return every port to listen on, by who wants it."""
        ports: dict[str, int] = {}
        for name, environment in self.environments.items():
            ports[name] = environment.port
            ports[f"{name}'s health and metrics"] = environment.operations_port
            if environment.admin_port is not None:
                ports[f"{name}'s administration"] = environment.admin_port
        servers = {"PostgreSQL": self.postgres, "Redis": self.redis}
        return ports | {name: server.port for name, server in servers.items() if server}


def run_stack(environment: Mapping[str, str], report: Report) -> NoReturn:
    """Run the stack until told to stop (raises StopRequested) or until a part of it fails (raises StackError).

    `environment` holds STACK_DIR, STACK_PORT_BASE, POSTGRES_DSN, REDIS_URL and overrides of the services' variables.
    By the time an exception leaves, every child has ended and stack.json is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _request_stop)
    port_base = port_base_from(environment)
    path = directory_from(environment)
    with lock_state_directory(path) as state, ExitStack() as stopping:
        try:
            report(f"state directory {path}")
            plan = _make_plan(environment, port_base, state)
            processes = Processes(state, stopping)
            _start(plan, processes, stopping, report)
            state.write_stack_file(_describe(plan, processes))
            metering_pid = processes.pid("metering")
            login_url = make_console_link(plan.environments["metering"].console_url, plan.secrets["admin_key"])
            report(render_welcome(plan.environments, metering_pid, state.path, login_url))
            processes.watch()
        finally:
            # What follows is bounded in time; a second Ctrl-C would only leave it half done.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            state.remove_stack_file()
            report("stopping")


def _make_plan(environment: Mapping[str, str], port_base: int, state: StateDirectory) -> Plan:
    """Decide about ports, servers and settings; nothing is started."""
    secrets = state.load_secrets()
    postgres: PostgresServer | None = None
    if administrator_dsn := environment.get("POSTGRES_DSN", ""):
        dsns = {name: dsn_for_database(administrator_dsn, name) for name in DATABASES}
    else:
        postgres = PostgresServer(
            state.subdirectory("postgres"),
            port_base + POSTGRES_PORT_OFFSET,
            secrets["postgres_password"],
            state.log_path("postgres"),
            inherited_descriptors=[state.children_lock],
        )
        administrator_dsn = postgres.dsn()
        dsns = {name: postgres.dsn(name, name, secrets[f"{name}_password"]) for name in DATABASES}
    redis: RedisServer | None = None
    if not (redis_url := environment.get("REDIS_URL", "")):
        redis = RedisServer(
            state.subdirectory("redis"),
            port_base + REDIS_PORT_OFFSET,
            secrets["redis_password"],
            state.log_path("redis"),
            inherited_descriptors=[state.children_lock],
        )
        redis_url = redis.url
    environments = build_environments(port_base, dsns, redis_url, secrets, environment)
    return Plan(port_base, secrets, postgres, administrator_dsn, dsns, redis, redis_url, environments)


def _start(plan: Plan, processes: Processes, stopping: ExitStack, report: Report) -> None:
    """Start servers and services, each after what it needs; `stopping` learns how to end each."""
    require_free_ports(plan.wanted_ports(), plan.port_base)
    for name, server in (("postgres", plan.postgres), ("redis", plan.redis)):
        if server:
            report(f"starting {name} on port {server.port}")
            stopping.callback(server.stop)
            server.start()
            processes.adopt(name, server.process)
        else:
            report(f"using the {name} of the environment")
    report("creating and migrating the databases")
    passwords = plan.secrets if plan.postgres else {}
    create_databases(plan.administrator_dsn, {name: passwords.get(f"{name}_password") for name in DATABASES})
    processes.migrate(plan.environments.values())
    for service_environment in plan.environments.values():
        report(f"starting {service_environment.service.name} on port {service_environment.port}")
        processes.start(service_environment)
    for service_environment in plan.environments.values():
        report(f"waiting until {service_environment.service.name} is ready")
        processes.wait_until_ready(service_environment)
    report("seeding the demo's clients, plans and credits")
    seed_catalog(plan.environments["catalog"].dsn)
    seed_metering(plan.environments["metering"].url, plan.secrets["admin_key"])
    processes.require_all_alive()


def _describe(plan: Plan, processes: Processes) -> dict[str, object]:
    """Build stack.json, for programs: tests, benchmarks, a fault campaign.

    The console's link is one of its own: each is good once, and people have theirs.
    """
    console_url, admin_key = plan.environments["metering"].console_url, plan.secrets["admin_key"]
    services: dict[str, object] = {
        name: {"url": each.url, "ops_url": each.operations_url}
        | ({"admin_url": each.admin_url} if each.admin_url else {})
        for name, each in plan.environments.items()
    }
    return services | {
        # A service's own, which its environment may have changed, before the stack's.
        "postgres": {"dsn": {**plan.dsns, **{name: each.dsn for name, each in plan.environments.items()}}},
        "redis": {"url": plan.redis_url},
        "python": sys.executable,
        "variables": {name: dict(each.variables) for name, each in plan.environments.items()},
        "pids": {name: processes.pid(name) for name in (*plan.environments, "postgres", "redis")},
        "service_keys": {
            "events": plan.secrets["events_key"],
            GUEST: plan.secrets[f"{GUEST}_key"],
            "admin": plan.secrets["admin_key"],
        },
        "admin_keys": {"catalog": plan.secrets["catalog_admin_key"], "metering": plan.secrets["admin_key"]},
        "console": {"url": console_url, "login_url": make_console_link(console_url, admin_key)},
        "clients": [
            {"client_id": each.client_id, "client_secret": each.client_secret, "policy": each.policy_id}
            for each in CLIENTS
        ],
    }


def _request_stop(_number: int, _frame: FrameType | None) -> None:
    raise StopRequested
