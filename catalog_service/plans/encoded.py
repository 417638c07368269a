"""Responses of get-plans, encoded once and kept for as long as they are true.

A response belongs to one version of its client's plans (`client.plans_version`). Whoever asks brings the version
that is present after its question arrived, so a response that is kept is exact or not used; nothing has to be told to
this process. Encoding and compressing happen in a thread, once for all who ask for the same at the same time.
"""

import asyncio
import contextvars
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg
from cachetools import LRUCache

from catalog_service.metrics import CatalogMetrics
from catalog_service.plans.plan import Plan
from catalog_service.plans.store import PlanStore, UnreadPlans

_LOAD_TIMEOUT_SECONDS = 3.0
"""For reading all of a client's plans; a hundred thousand take a second."""
_GZIP_FROM_BYTES = 1024
"""Below it compression saves less than a network packet."""
_GZIP_LEVEL = 6
_OVERHEAD_BYTES = 512
"""What an entry costs beside its body, so that many empty responses count too."""

EncodePlans = Callable[[Sequence[Plan]], bytes]
"""Writes the body of a response with these plans."""


@dataclass(frozen=True, slots=True)
class EncodedPlans:
    """The body of a response, of one version of the client's plans."""

    version: int
    body: bytes
    gzipped: bool


_Key = tuple[str, str | None, bool]


class EncodedPlansCache:
    """Responses of get-plans by client, collection and encoding, up to a number of bytes."""

    def __init__(self, pool: asyncpg.Pool, encode: EncodePlans, limit_bytes: int, metrics: CatalogMetrics) -> None:
        self._pool = pool
        self._encode = encode
        self._metrics = metrics
        self._kept: LRUCache[_Key, EncodedPlans] = LRUCache(
            limit_bytes, getsizeof=lambda plans: len(plans.body) + _OVERHEAD_BYTES
        )
        self._under_way: dict[tuple[_Key, int], asyncio.Task[EncodedPlans]] = {}
        metrics.encoded_plans_bytes.set_function(lambda: self.kept_bytes)

    @property
    def kept_bytes(self) -> float:
        """How much is kept at the moment."""
        return self._kept.currsize

    async def fetch(
        self, client_id: str, collection_id: str | None, version: int, *, accept_gzip: bool
    ) -> EncodedPlans:
        """Return the plans of `version`, or, read, encoded and kept anew, of that or a later one.

        Callers that know of the same version share one reading: it began after one of them learned the version, so
        it is no older than that. Raises TimeoutError.
        """
        key = (client_id, collection_id, accept_gzip)
        kept = self._kept.get(key)
        if kept is not None and kept.version == version:
            self._metrics.kept_lists.inc()
            return kept
        self._metrics.encoded_lists.inc()
        task = self._under_way.get((key, version))
        if task is None:
            # A context of its own: it may outlive the request that began it.
            task = asyncio.create_task(self._load(key), context=contextvars.Context())
            self._under_way[key, version] = task
            task.add_done_callback(lambda _: self._under_way.pop((key, version)))
        return await asyncio.shield(task)

    async def _load(self, key: _Key) -> EncodedPlans:
        client_id, collection_id, accept_gzip = key
        async with self._pool.acquire(timeout=_LOAD_TIMEOUT_SECONDS / 2, work_seconds=_LOAD_TIMEOUT_SECONDS) as c:
            version, unread = await PlanStore(c).list_plans(client_id, collection_id)
        plans = await asyncio.to_thread(self._write, version, unread, accept_gzip)
        if len(plans.body) + _OVERHEAD_BYTES <= self._kept.maxsize:
            self._kept[key] = plans
        return plans

    def _write(self, version: int, unread: UnreadPlans, accept_gzip: bool) -> EncodedPlans:
        body = self._encode(unread.read())
        if not accept_gzip or len(body) < _GZIP_FROM_BYTES:
            return EncodedPlans(version, body, gzipped=False)
        return EncodedPlans(version, gzip.compress(body, _GZIP_LEVEL, mtime=0), gzipped=True)
