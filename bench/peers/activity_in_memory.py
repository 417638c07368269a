"""The activity service as it is, with stand-ins for what it waits for: no metering, no database in a create.

The stand-ins keep plays in a dictionary, grant everything, and leave the relay nothing to do. Everything else, from
the socket to the schema and back, is the service's own.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from activity_service import components
from activity_service.cli.main import run
from activity_service.plays.create import CreatePlanPlays
from activity_service.plays.creation_store import Creation, Stored
from activity_service.plays.plan_play import PlanPlay
from metering_client import billing
from metering_client.client import MeteringClient
from metering_client.event import BillableEvent, Grant
from metering_client.relay import Relay


class RememberedCreations(CreatePlanPlays):
    """Plays, in memory."""

    _stored: dict[str, tuple[PlanPlay, bytes | None]]

    async def _insert_plan_plays(self, creations: Sequence[Creation]) -> list[Stored]:
        stored = self.__dict__.setdefault("_stored", {})
        for creation in creations:
            stored[creation.play.id] = (creation.play, creation.fingerprint)
        return [Stored(is_new=True, is_announced=False) for _ in creations]

    async def _list_plays(self, play_ids: Sequence[str]) -> list[tuple[PlanPlay, bytes | None] | None]:
        stored = self.__dict__.setdefault("_stored", {})
        return [stored.get(play_id) for play_id in play_ids]


class OpenMetering(MeteringClient):
    """Grants everything at once."""

    def authorize(self, event: BillableEvent) -> Awaitable[Grant]:
        """Grant."""
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        future.set_result(Grant(event.hold_id, "2026-01-01T00:00:00+00:00"))
        return future


class IdleRelay(Relay):
    """Nothing was stored, so there is nothing to settle."""

    async def settle_due(self) -> None:
        """Do nothing."""


def main() -> None:
    """Put the stand-ins in and run the service's own command line."""
    for module, name, stand_in in (
        (components, "CreatePlanPlays", RememberedCreations),
        (billing, "MeteringClient", OpenMetering),
        (billing, "Relay", IdleRelay),
    ):
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__} has no {name} any more: the stand-in has to follow it")
        setattr(module, name, stand_in)
    run()


if __name__ == "__main__":
    main()
