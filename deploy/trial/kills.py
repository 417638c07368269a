"""The main process of a container is killed from outside while callers are at work."""

import time

from engine import Project, require
from load import CALLERS, Load

BACK_WITHIN_SECONDS = 10.0
GIVE_UP_SECONDS = 120.0
"""A machine with too much else to do is told of at the end, when all else was tried."""
SERVED_BY_SEVERAL = ("catalog", "activity", "metering")


def kill_each(project: Project, load: Load, service: str) -> list[float]:
    """Kill each container of a service, the next when the one before is back; return how long each took."""
    load.take_failures()
    containers = project.containers(service)
    seconds = [kill(project, load, container) for container in containers]
    failed = load.take_failures()
    took = ", ".join(f"{each:.1f}" for each in seconds)
    print(f"back after {took} s, failed and repeated: {failed or 'none'} ...", end=" ", flush=True)
    if service in SERVED_BY_SEVERAL:
        most = CALLERS * len(containers)
        require(sum(failed.values()) <= most, f"{service}: more failed than was under way: {failed}")
    return seconds


def kill(project: Project, load: Load, container: str) -> float:
    """Kill it; return how long it took until it was well again and a play was sold."""
    began = time.monotonic()
    deadline = began + GIVE_UP_SECONDS
    project.kill(container)
    while not project.is_well(container):
        require(time.monotonic() < deadline, f"{container} does not come back")
        time.sleep(0.1)
    require(load.wait_for_new(deadline - time.monotonic()), f"nothing is sold after {container} was killed")
    return time.monotonic() - began
