"""The activity service as it is, with stand-ins for what it waits for: no metering, no database in a create.

The stand-ins keep answers by Idempotency-Key in a dictionary, grant everything, and leave the relay nothing to do.
Everything else, from the socket to the schema and back, is the service's own.
"""

from collections.abc import Sequence
from uuid import UUID

from activity_service import components as composition
from activity_service.billing.event import BillableEvent, Fate
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.relay import Relay
from activity_service.cli.main import run_command_line
from activity_service.plays.creation_store import Creation, CreationStore
from activity_service.plays.idempotency import IdempotentRequest, KeptAnswer


class RememberedCreations(CreationStore):
    """The answers of creates, in memory."""

    _kept: dict[tuple[str, str, str], KeptAnswer]

    async def insert_plan_plays(self, creations: Sequence[Creation]) -> list[Fate]:
        """Remember each one's answer."""
        kept = self.__dict__.setdefault("_kept", {})
        for creation in creations:
            if (request := creation.request) is not None:
                kept[request.scope] = KeptAnswer(request.fingerprint, creation.status, creation.response)
        return [Fate.WON for _ in creations]

    async def list_answers(self, requests: Sequence[IdempotentRequest]) -> list[KeptAnswer | None]:
        """Answer what is remembered."""
        kept = self.__dict__.setdefault("_kept", {})
        return [kept.get(request.scope) for request in requests]


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
        ("CreationStore", RememberedCreations),
        ("MeteringClient", OpenMetering),
        ("Relay", IdleRelay),
    ):
        if not hasattr(composition, name):
            raise SystemExit(f"activity's composition has no {name} any more: the stand-in has to follow it")
        setattr(composition, name, stand_in)
    run_command_line()


if __name__ == "__main__":
    main()
