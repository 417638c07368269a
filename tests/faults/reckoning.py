"""What metering's books must say after a run, reckoned anew from holds and grants: credits, quotas, refunds.

The product's audits compare its numbers with each other; this asks whether they may be at all, in metering's time.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from metering_service.retention.forget import COUNTERS_KEPT
from prove.history import Change, Record, Refund
from service_chassis.cli.audit_report import Finding
from tests.faults.metering_time import period_of
from tests.faults.operator import DAILY_CREDITS, MOST_ROLLED_OVER
from tests.faults.quotas import Quota, list_quotas
from tests.faults.rows import CounterRow, GrantRow, HoldRow

FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Books:
    """What metering has at rest, all accounts moved on to `now`."""

    now: datetime
    holds: Sequence[HoldRow]
    grants: Sequence[GrantRow]
    counters: Sequence[CounterRow]


def check_books(history: Record, books: Books) -> Iterator[Finding]:
    """Yield every violation that the books show."""
    for client_id in {change.client_id for change in history.changes}:
        holds = [hold for hold in books.holds if hold.client_id == client_id and hold.held_at is not None]
        grants = [grant for grant in books.grants if grant.client_id == client_id]
        counters = [counter for counter in books.counters if counter.client_id == client_id]
        yield from check_cover(client_id, holds, grants)
        yield from check_quotas(client_id, history.changes, holds, counters, books.now)
        yield from check_recurrences(client_id, [each for each in grants if each.recurring_id], books.now)
    yield from check_refunds(history.refunds, books.holds, books.grants)


def check_cover(client_id: str, holds: Iterable[HoldRow], grants: Iterable[GrantRow]) -> Iterator[Finding]:
    """3: all that was charged can have been paid by grants that lived while it was held, each credit once.

    Each grant, the first to end first, pays the charges among those held before its end that were settled first after
    its beginning: a charge that is left for others can be paid by more of them. If this way of paying leaves one
    over, every way does.
    """
    charges = [hold for hold in holds if hold.state == "settled" and hold.credits]
    coming = sorted(charges, key=lambda hold: hold.held_at or FOR_EVER, reverse=True)
    open_charges: list[tuple[datetime, str, int]] = []
    for grant in sorted(grants, key=_end_of):
        while coming and (coming[-1].held_at or FOR_EVER) < _end_of(grant):
            charge = coming.pop()
            insort(open_charges, (charge.closed_at or FOR_EVER, charge.event_id, charge.credits))
        left = grant.credits
        place = bisect_left(open_charges, (grant.effective_at,))
        while left and place < len(open_charges):
            settled_at, event_id, credits = open_charges.pop(place)
            if credits > left:
                open_charges.insert(place, (settled_at, event_id, credits - left))
            left = max(left - credits, 0)
    unpaid = [name for _, name, _ in open_charges] + [charge.event_id for charge in coming]
    if unpaid:
        others = f"of {client_id}, and {len(unpaid) - 1} others"
        yield Finding("3-oversold", unpaid[0], f"{others}, were charged beyond what grants of their time can pay")


def _end_of(grant: GrantRow) -> datetime:
    return min(grant.expires_at or FOR_EVER, grant.voided_at or FOR_EVER)


def check_quotas(
    client_id: str, changes: Sequence[Change], holds: Sequence[HoldRow], counters: Sequence[CounterRow], now: datetime
) -> Iterator[Finding]:
    """3: no more was held and charged in a period than its quota, and each counter says what was charged in it.

    Those of periods that ended long ago are forgotten.
    """
    stand = {(each.name, each.user_id, each.starts_at): each for each in counters}
    for quota, limits in list_quotas(changes, client_id).items():
        highest = max(limit for _, limit in limits)
        for (user_id, starts_at), rows in quota.group(holds).items():
            where = f"{quota.name} of {user_id or 'all'} from {starts_at}"
            most = _most_at_once(quota, rows)
            if most > highest:
                yield Finding("3-quota-oversold", client_id, f"{where}: {most} of {highest} were taken at once")
            charged = sum(quota.amount(row) for row in rows if row.state == "settled")
            counter = stand.pop((quota.name, user_id, starts_at), None)
            if counter is None and period_of(quota.period, starts_at)[1] < now - COUNTERS_KEPT:
                continue
            used, held = (counter.used, counter.held) if counter else (0, 0)
            if (used, held) != (charged, 0):
                yield Finding(
                    "3-counter",
                    client_id,
                    f"{where}: {used} used, {held} held; {charged} were charged, and none held",
                )
    for name, user_id, starts_at in (key for key, counter in stand.items() if counter.used or counter.held):
        yield Finding(
            "3-counter", client_id, f"{name} of {user_id or 'all'} from {starts_at} counts what nobody held"
        )


def _most_at_once(quota: Quota, holds: Sequence[HoldRow]) -> int:
    changes = [(hold.held_at, 1, quota.amount(hold)) for hold in holds if hold.held_at]
    changes += [
        (hold.closed_at, 0, -quota.amount(hold)) for hold in holds if hold.closed_at and hold.state == "released"
    ]
    taken = most = 0
    for _, _, amount in sorted(changes):  # what is given back first, where both bear one moment
        taken += amount
        most = max(most, taken)
    return most


def check_recurrences(client_id: str, grants: Sequence[GrantRow], now: datetime) -> Iterator[Finding]:
    """3: each day that began has its grant, once, of its credits and what went over of the day before."""
    if not grants:
        return
    by_day: dict[datetime, list[GrantRow]] = defaultdict(list)
    for grant in grants:
        by_day[grant.effective_at].append(grant)
    day, left = min(by_day), 0
    while day <= now:
        made = by_day.pop(day, [])
        if len(made) != 1:
            yield Finding("3-recurrence", client_id, f"the day {day} has {len(made)} grants")
            return
        should = DAILY_CREDITS + min(MOST_ROLLED_OVER, left)
        if (made[0].credits, made[0].expires_at) != (should, period_of("day", day)[1]):
            yield Finding("3-rollover", client_id, f"the day {day} has {made[0].credits} credits instead of {should}")
        day, left = day + timedelta(days=1), made[0].lapsed_then
    for other in by_day:
        yield Finding("3-recurrence", client_id, f"a grant of {other}, when no day begins, or none has begun")


def check_refunds(asked: Iterable[Refund], holds: Iterable[HoldRow], grants: Iterable[GrantRow]) -> Iterator[Finding]:
    """3: what was given back of an event is at most what it was charged; each refund was asked for, and stands."""
    charged = {(hold.client_id, hold.event_id): hold.credits for hold in holds if hold.state == "settled"}
    wanted = {(each.client_id, each.refund_id): each.event_id for each in asked}
    stand = {(each.client_id, each.grant_id): each for each in grants if each.kind == "refund"}
    given: dict[tuple[str, str], int] = defaultdict(int)
    for (client_id, refund_id), refund in stand.items():
        given[client_id, refund.event_id or ""] += refund.credits
        if wanted.get((client_id, refund_id)) != refund.event_id:
            yield Finding(
                "3-refund", refund.event_id or refund_id, f"was refunded by {refund_id}; nobody asked for it"
            )
    for each in asked:
        there = stand.get((each.client_id, each.refund_id))
        if each.credits is not None and (there is None or there.credits != each.credits):
            yield Finding("3-refund", each.event_id, f"{each.refund_id} of {each.credits} was acknowledged: {there}")
    for (client_id, event_id), credits in given.items():
        if credits > charged.get((client_id, event_id), 0):
            was = charged.get((client_id, event_id), 0)
            yield Finding("3-refunded-twice", event_id, f"{client_id} was charged {was}, and given back {credits}")
