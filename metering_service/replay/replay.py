"""Hold the last days' charges and refusals against the prices, quotas and credits of a draft. Pure.

Hour by hour, so that what is read is bounded by hours and not by events. Rates are not replayed: what came within a
second is not kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from metering_service.events.event import BALANCE_EXHAUSTED, NOT_SOLD, QUOTA_EXCEEDED
from metering_service.policies.policy import Period, Policy, Quota


@dataclass(frozen=True, slots=True)
class Attempts:
    """Alike events of a client in the hour that begins at `hour`, with what each was charged, `refused` or not.

    A refused one counts with one unit: how many it had is not kept.
    """

    client_id: str
    hour: datetime
    event_type: str
    user_id: str
    units: int
    credits: int
    events: int
    refused: bool = False


@dataclass(slots=True)
class ClientReplay:
    """What became of a client's events, and what would have: how many passed, and their credits.

    `refused` is by code and limit's name, of those that were charged; `admitted` are refusals that would have passed.
    """

    client_id: str
    charged: int = 0
    credits: int = 0
    draft_charged: int = 0
    draft_credits: int = 0
    admitted: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)


def replay(
    draft: Policy,
    attempts: Iterable[Attempts],
    begin: datetime,
    available: Mapping[str, int],
    given: Mapping[str, list[tuple[datetime, int]]],
    used_before: Mapping[tuple[str, str], Mapping[str, tuple[int, int, int]]],
) -> list[ClientReplay]:
    """Return what a draft would have said to each client's attempts from `begin` on, which come by client and hour.

    `available` is what each had at the beginning, `given` what it was given and lost since, by hour and oldest first.
    `used_before` are events, units and credits by event type, by client and period, from the start of the period that
    runs at the beginning.
    """
    found: dict[str, ClientReplay] = {}
    accounts: dict[str, _Account] = {}
    for each in attempts:
        account = accounts.get(each.client_id)
        if account is None:
            account = _Account(each.client_id, draft, begin, available, given, used_before)
            accounts[each.client_id], found[each.client_id] = account, ClientReplay(each.client_id)
        sums = found[each.client_id]
        passed, credits, why = account.attempt(each)
        sums.draft_charged += passed
        sums.draft_credits += credits
        if each.refused:
            sums.admitted += passed
        else:
            sums.charged += each.events
            sums.credits += each.events * each.credits
            if passed < each.events:
                sums.refused[why] += each.events - passed
    return list(found.values())


class _Account:
    """A client's quotas and credits under the draft, as they run."""

    def __init__(
        self,
        client_id: str,
        draft: Policy,
        begin: datetime,
        available: Mapping[str, int],
        given: Mapping[str, list[tuple[datetime, int]]],
        used_before: Mapping[tuple[str, str], Mapping[str, tuple[int, int, int]]],
    ) -> None:
        self._client_id = client_id
        self._draft = draft
        self._begin = begin
        self._available = available.get(client_id, 0)
        self._given = given.get(client_id, [])
        self._given_so_far = 0
        self._used_before = used_before
        self._used: dict[tuple[str, str, datetime], int] = {}

    def attempt(self, each: Attempts) -> tuple[int, int, tuple[str, str]]:
        """Return how many of the events pass, their credits, and the code and the limit that refuse the others."""
        price = self._draft.price_of(each.event_type, each.units)
        if self._draft.mode == "shadow":
            # Refuses nothing, and takes no credits that are not there.
            credits = min(each.events, self._count_paid(each, price)) * price if price else 0
            self._available -= credits
            return each.events, credits, ("", "")
        if price is None:
            return 0, 0, (NOT_SOLD, "")
        passed, why = each.events, ("", "")
        counters = []
        for quota in self._draft.quotas_of(each.event_type):
            key = (quota.name, each.user_id if quota.per == "user" else "", find_start(quota.period, each.hour))
            if key not in self._used:
                self._used[key] = self._count_before(quota, key[2])
            amount = quota.count(each.units, price)
            counters.append((key, amount))
            if quota.most is not None and amount:
                room = max(0, quota.most - self._used[key]) // amount
                passed, why = (room, (QUOTA_EXCEEDED, quota.name)) if room < passed else (passed, why)
        room = self._count_paid(each, price) if price else passed
        passed, why = (room, (BALANCE_EXHAUSTED, "")) if room < passed else (passed, why)
        for key, amount in counters:
            self._used[key] += passed * amount
        self._available -= passed * price
        return passed, passed * price, why

    def _count_paid(self, each: Attempts, price: int) -> int:
        """Return how many events of so many credits can be paid in their hour; a price is asked for credits alone."""
        self._take_given(each.hour)
        return max(0, self._available - (self._draft.least_available or 0)) // price

    def _take_given(self, hour: datetime) -> None:
        while self._given_so_far < len(self._given) and self._given[self._given_so_far][0] <= hour:
            self._available += self._given[self._given_so_far][1]
            self._given_so_far += 1

    def _count_before(self, quota: Quota, starts_at: datetime) -> int:
        """Return what counts in a period that began before the replay; of users it is not kept."""
        if starts_at != find_start(quota.period, self._begin) or quota.per == "user":
            return 0
        before = self._used_before.get((self._client_id, quota.period), {})
        which = ("events", "units", "credits").index(quota.counts)
        return sum(
            (self._draft.price_of(event_type, sums[1]) or 0) if quota.counts == "credits" else sums[which]
            for event_type, sums in before.items()
            if quota in self._draft.quotas_of(event_type)
        )


def find_start(period: Period, moment: datetime) -> datetime:
    """Return the start of the calendar's period that a moment of UTC falls in; a week begins on Monday."""
    start = moment.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return start
    start = start.replace(hour=0)
    if period == "week":
        return start - timedelta(days=start.weekday())
    return start if period == "day" else start.replace(day=1) if period == "month" else start.replace(month=1, day=1)


def sum_up(replays: Sequence[ClientReplay]) -> ClientReplay:
    """Return the sums over all clients."""
    return ClientReplay(
        "",
        charged=sum(each.charged for each in replays),
        credits=sum(each.credits for each in replays),
        draft_charged=sum(each.draft_charged for each in replays),
        draft_credits=sum(each.draft_credits for each in replays),
        admitted=sum(each.admitted for each in replays),
        refused=sum((each.refused for each in replays), Counter()),
    )


def group_by_hour(rows: Iterable[tuple[str, datetime, int]]) -> dict[str, list[tuple[datetime, int]]]:
    """Return what each client was given, by hour, in the order of the rows."""
    found: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for client_id, hour, credits in rows:
        found[client_id].append((hour, credits))
    return found
