"""The quotas that clients had, by what operators put, and who counts in which period of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prove.history import Change
from tests.faults.metering_time import Period, period_of
from tests.faults.rows import HoldRow


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota without its limit, which changes."""

    name: str
    counts: str
    period: Period
    per: str

    def user_of(self, user_id: str | None) -> str:
        """Return in whose counter an event of this user counts."""
        return user_id or "" if self.per == "user" else ""

    def amount(self, hold: HoldRow) -> int:
        """Return what a hold takes of it."""
        return hold.units if self.counts == "units" else hold.events

    def group(self, holds: Iterable[HoldRow]) -> Mapping[tuple[str, datetime], list[HoldRow]]:
        """Return the holds of a client by user and start of the period in which they count."""
        groups: dict[tuple[str, datetime], list[HoldRow]] = defaultdict(list)
        for hold in holds:
            if hold.held_at is not None:
                groups[self.user_of(hold.user_id), period_of(self.period, hold.held_at)[0]].append(hold)
        return groups


def list_quotas(changes: Sequence[Change], client_id: str) -> Mapping[Quota, list[tuple[Change, int]]]:
    """Return a client's quotas, each with its limits and the changes that set them."""
    quotas: dict[Quota, list[tuple[Change, int]]] = defaultdict(list)
    for change in changes:
        if change.client_id == client_id:
            for each in (change.policy or {}).get("quotas", ()):
                counts, per = each.get("counts", "events"), each.get("per", "client")
                quotas[Quota(each["name"], counts, each["period"], per)].append((change, each["limit"]))
    return quotas
