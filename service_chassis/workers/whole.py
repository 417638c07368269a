"""The operations port of a service with several workers: whether the whole is ready, and what all of them count."""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence

import aiohttp
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service_chassis.operations.health import CHECK_TIMEOUT_SECONDS

_ASK_TIMEOUT = aiohttp.ClientTimeout(total=1.5 * CHECK_TIMEOUT_SECONDS)
"""A worker bounds its own checks; one that is being replaced does not answer."""
_OUT_OF_THE_WAY = {"starting", "stopping"}
"""Of a worker that takes no requests, or serves those that it gets: not what should keep any from the others."""
_UNRESPONSIVE = "unresponsive"
"""Of a worker that takes requests, as the kernel leads them to it, and answers nothing."""
_SAY_UNRESPONSIVE = f'''# TYPE readiness_failing gauge
readiness_failing{{check="{_UNRESPONSIVE}"}} 1
'''
"""What it cannot say of itself."""


class _Merged(Collector):
    """The metrics of all workers, each with the label `worker`."""

    def __init__(self, expositions: Iterable[str | None]) -> None:
        self._families: dict[str, Metric] = {}
        for worker, exposition in enumerate(expositions, start=1):
            for family in text_string_to_metric_families(exposition or ""):
                alone = Metric(family.name, family.documentation, family.type)
                self._families.setdefault(family.name, alone).samples += [
                    sample._replace(labels={"worker": str(worker), **sample.labels}) for sample in family.samples
                ]

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families.values()


class WholeService:
    """What the workers say of themselves, on their operations ports of this machine."""

    def __init__(self, ports: Sequence[int], serving: Iterable[int]) -> None:
        """`serving` has the process id of each worker as soon as it takes requests, and 0 before."""
        self._urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._serving = serving

    async def find_not_ready(self) -> list[str]:
        """Return nothing when a worker is ready and none that takes requests is not, else what they say."""
        ready = 0
        missing: set[str] = set()
        for answer, pid in zip(await self._ask_all("/readyz"), self._serving, strict=True):
            if answer is None:
                missing.add(_UNRESPONSIVE if _is_there(pid) else "starting")
            elif not (found := json.loads(answer).get("notReady")):
                ready += 1
            else:
                missing.update(found)
        if ready:
            missing -= _OUT_OF_THE_WAY
        return sorted(missing)

    async def render_metrics(self) -> bytes:
        """Return the exposition text."""
        expositions = await self._ask_all("/metrics")
        for place, pid in enumerate(self._serving):
            if expositions[place] is None and _is_there(pid):
                expositions[place] = _SAY_UNRESPONSIVE
        return generate_latest(_Merged(expositions))

    async def _ask_all(self, path: str) -> list[str | None]:
        """Return each worker's answer; None of one that is not there."""
        async with aiohttp.ClientSession(timeout=_ASK_TIMEOUT) as session:

            async def ask(url: str) -> str | None:
                try:
                    async with session.get(url + path) as response:
                        return await response.text()
                except (aiohttp.ClientError, TimeoutError):
                    return None

            return await asyncio.gather(*(ask(url) for url in self._urls))


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pid > 0
