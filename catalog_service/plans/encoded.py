"""Answers of get-plans, encoded once and kept for as long as they are true.

An answer belongs to one version of its client's plans (`client.plans_version`). Whoever asks brings the version
that is present after its question arrived, so an answer that is kept is exact or not used; nothing has to be told to
this process. Encoding and compressing happen in a thread, once for all who ask for the same at the same time.
"""

import asyncio
import contextvars
import gzip
from dataclasses import dataclass
from typing import Any

import asyncpg
from cachetools import LRUCache

from catalog_service.api.envelope import encode_envelope
from catalog_service.api.plan_schemas import dump_plan
from catalog_service.database import borrow_connection
from catalog_service.plans.store import PlanStore, read_plan

_LOAD_TIMEOUT_SECONDS = 3.0
"""For reading all of a client's plans; a hundred thousand take a second."""
_GZIP_FROM_BYTES = 1024
"""Below it compression saves less than a network packet."""
_GZIP_LEVEL = 6
_OVERHEAD_BYTES = 512
"""What an entry costs beside its body, so that many empty answers count too."""


@dataclass(frozen=True, slots=True)
class EncodedPlans:
    """The body of an answer, of one version of the client's plans."""

    version: int
    body: bytes
    gzipped: bool


_Key = tuple[str, str | None, bool]


class EncodedPlansCache:
    """Answers of get-plans by client, collection and encoding, up to a number of bytes."""

    def __init__(self, pool: asyncpg.Pool, *, limit_bytes: int) -> None:
        self._pool = pool
        self._kept: LRUCache[_Key, EncodedPlans] = LRUCache(
            limit_bytes, getsizeof=lambda answer: len(answer.body) + _OVERHEAD_BYTES
        )
        self._under_way: dict[tuple[_Key, int], asyncio.Task[EncodedPlans]] = {}

    @property
    def kept_bytes(self) -> float:
        """How much is kept at the moment."""
        return self._kept.currsize

    def find(
        self, client_id: str, collection_id: str | None, version: int, *, accept_gzip: bool
    ) -> EncodedPlans | None:
        """Answer what is kept of just this version."""
        kept = self._kept.get((client_id, collection_id, accept_gzip))
        return kept if kept is not None and kept.version == version else None

    async def encode(
        self, client_id: str, collection_id: str | None, version: int, *, accept_gzip: bool
    ) -> EncodedPlans:
        """Read, encode and keep the plans of `version` or a later one.

        Callers that know of the same version share one reading: it began after one of them learned the version, so
        it is no older than that. Raises TimeoutError.
        """
        key = (client_id, collection_id, accept_gzip)
        task = self._under_way.get((key, version))
        if task is None:
            # A context of its own: it may outlive the request that began it.
            task = asyncio.create_task(self._load(key), context=contextvars.Context())
            self._under_way[key, version] = task
            task.add_done_callback(lambda _: self._under_way.pop((key, version)))
        return await asyncio.shield(task)

    async def _load(self, key: _Key) -> EncodedPlans:
        client_id, collection_id, accept_gzip = key
        async with borrow_connection(self._pool, timeout_seconds=_LOAD_TIMEOUT_SECONDS) as connection:
            version, rows = await PlanStore(connection).list_rows(client_id, collection_id)
        answer = await asyncio.to_thread(_encode, version, rows, accept_gzip)
        if len(answer.body) + _OVERHEAD_BYTES <= self._kept.maxsize:
            self._kept[key] = answer
        return answer


def _encode(version: int, rows: list[Any], accept_gzip: bool) -> EncodedPlans:
    body = encode_envelope([dump_plan(read_plan(row)) for row in rows])
    if not accept_gzip or len(body) < _GZIP_FROM_BYTES:
        return EncodedPlans(version, body, gzipped=False)
    return EncodedPlans(version, gzip.compress(body, _GZIP_LEVEL, mtime=0), gzipped=True)
