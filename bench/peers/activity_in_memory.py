"""The activity service as it is, with stand-ins for what it waits for: no metering, no database in a create.

The stand-ins keep answers by Idempotency-Key in a dictionary, grant everything, and leave the relay nothing to do.
Everything else, from the socket to the schema and back, is the service's own.
"""

from collections.abc import Sequence
from uuid import UUID

from activity_service import components
from activity_service.billing.event import BillableEvent, Outcome
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.relay import Relay
from activity_service.cli.main import run
from activity_service.plays.create import CreatePlanPlays
from activity_service.plays.creation_store import Creation
from activity_service.plays.idempotency import IdempotentRequest, StoredResponse


class RememberedCreations(CreatePlanPlays):
    """The responses of creates, in memory."""

    _stored: dict[tuple[str, str, str], StoredResponse]

    async def _insert_plan_plays(self, creations: Sequence[Creation]) -> list[Outcome]:
        stored = self.__dict__.setdefault("_stored", {})
        for creation in creations:
            if (request := creation.request) is not None:
                stored[request.scope] = StoredResponse(request.fingerprint, creation.response)
        return [Outcome.WON for _ in creations]

    async def _list_responses(self, requests: Sequence[IdempotentRequest]) -> list[StoredResponse | None]:
        stored = self.__dict__.setdefault("_stored", {})
        return [stored.get(request.scope) for request in requests]


class OpenMetering(MeteringClient):
    """Grants everything at once."""

    async def authorize(self, event: BillableEvent) -> UUID:
        """Grant."""
        return event.hold_id


class IdleRelay(Relay):
    """Nothing was stored, so there is nothing to settle."""

    async def run_once(self) -> None:
        """Do nothing."""


def main() -> None:
    """Put the stand-ins in and run the service's own command line."""
    for name, stand_in in (
        ("CreatePlanPlays", RememberedCreations),
        ("MeteringClient", OpenMetering),
        ("Relay", IdleRelay),
    ):
        if not hasattr(components, name):
            raise SystemExit(f"activity's components have no {name} any more: the stand-in has to follow it")
        setattr(components, name, stand_in)
    run()


if __name__ == "__main__":
    main()
