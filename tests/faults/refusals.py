"""4: whether a refusal can have been true, by what the client had for certain and what can have been taken of it."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate

from prove.history import Attempt, Change, Record
from service_chassis.cli.audit_report import Finding
from tests.faults.metering_time import Timeline, period_of
from tests.faults.operator import MOST_TOKENS, TOKENS
from tests.faults.quotas import Quota, list_quotas
from tests.faults.rows import GrantRow, HoldRow

RELEASE_SLACK = timedelta(seconds=10)
"""A release bears the time at which it was decided, and is felt when it commits: later by as long as a lock, a frozen
server and its retry may take."""

ASKS_FOR = {"create": ("plan_play.created", 1), "complete": ("plan_play.completed", 1), "buy": (TOKENS, MOST_TOKENS)}
"""The event type and the units that a request of each kind holds."""


def check_refusals(
    history: Record, holds: Sequence[HoldRow], grants: Sequence[GrantRow], time: Timeline, skew: timedelta
) -> Iterator[Finding]:
    """Yield each quota or balance 429 during whose request the limit cannot have been reached at any moment."""
    by_client: dict[str, list[HoldRow]] = defaultdict(list)
    for hold in holds:
        by_client[hold.client_id].append(hold)
    terms = {
        client_id: _Terms(client_id, history.changes, by_client[client_id], grants)
        for client_id in {attempt.client_id for attempt in history.attempts}
    }
    for attempt in history.attempts:
        if attempt.code in ("api_balance_exhausted", "api_quota_exceeded") and attempt.ended_at is not None:
            during = _Moments(time, attempt.begun_at, attempt.ended_at, skew)
            client = terms[attempt.client_id]
            doubt = client.doubt_quotas if attempt.code == "api_quota_exceeded" else client.doubt_balance
            if why := doubt(attempt, during):
                yield Finding("4-false-refusal", attempt.operation, f"{attempt.client_id}, {attempt.code}: {why}")


class _Moments:
    """When a decision can have been made, in metering's time, and what was released before it for certain."""

    def __init__(self, time: Timeline, begun_at: datetime, ended_at: datetime, skew: timedelta) -> None:
        self.first = time.earliest(begun_at - skew)
        self.last = time.latest(ended_at + skew)
        self.freed_before = time.earliest(begun_at - RELEASE_SLACK - skew)

    def touch(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Return whether a decision can have been made between the two."""
        return starts_at <= self.last and self.first < ends_at


class _Taken:
    """How much of something can have been taken at a moment, at most: (held at, how much, released at) of each."""

    def __init__(self, amounts: Iterable[tuple[datetime | None, int, datetime | None]] = ()) -> None:
        known = [(held_at, amount, freed_at) for held_at, amount, freed_at in amounts if held_at is not None]
        taken = sorted((held_at, amount) for held_at, amount, _ in known)
        freed = sorted((freed_at, amount) for _, amount, freed_at in known if freed_at is not None)
        self._taken_at, self._freed_at = [at for at, _ in taken], [at for at, _ in freed]
        self._taken = [0, *accumulate(amount for _, amount in taken)]
        self._freed = [0, *accumulate(amount for _, amount in freed)]

    def most(self, during: _Moments) -> int:
        """Return the most that was taken at some moment."""
        taken = bisect_right(self._taken_at, during.last)
        freed = bisect_left(self._freed_at, during.freed_before)
        return self._taken[taken] - self._freed[freed]


class _Terms:
    """What a client had for certain, and what was taken of it. Quotas and grants for good only ever grow in a run.

    Grants for a time, voids and refunds come on top of what refusals are judged by: they can only help. A recurring
    grant is as good as a quota of so many credits in its period, since what was held before lies on what was there
    before.
    """

    def __init__(
        self, client_id: str, changes: Sequence[Change], holds: Sequence[HoldRow], grants: Sequence[GrantRow]
    ) -> None:
        self._changes = [change for change in changes if change.client_id == client_id]
        self._quotas = list_quotas(changes, client_id)
        self._counted = {
            quota: {key: _Taken(_amount(quota, hold) for hold in rows) for key, rows in quota.group(holds).items()}
            for quota in self._quotas
        }
        self._spent = _Taken(map(_credits, holds))
        self._periods = [
            (grant, _Taken(_credits(hold) for hold in holds if hold.held_at and _is_in(grant, hold.held_at)))
            for grant in grants
            if grant.client_id == client_id and grant.recurring_id is not None
        ]

    def doubt_quotas(self, attempt: Attempt, during: _Moments) -> str:
        """Return why no quota can have been reached; empty if one can."""
        _, units = ASKS_FOR[attempt.kind]
        left = []
        for quota, limits in self._quotas.items():
            limit = max((most for change, most in limits if _is_done(change, attempt.begun_at)), default=0)
            taken = self._most_counted(quota, quota.user_of(attempt.user_id), during)
            if taken + (units if quota.counts == "units" else 1) > limit:
                return ""
            left.append(f"at most {taken} of {limit} {quota.counts} were taken of {quota.name}")
        return "; ".join(left) or "there is no quota"

    def _most_counted(self, quota: Quota, user_id: str, during: _Moments) -> int:
        periods = (
            taken.most(during)
            for (whose, starts_at), taken in self._counted[quota].items()
            if whose == user_id and during.touch(starts_at, period_of(quota.period, starts_at)[1])
        )
        return max(periods, default=0)

    def doubt_balance(self, attempt: Attempt, during: _Moments) -> str:
        """Return why the balance cannot have been exhausted; empty if it can."""
        event_type, units = ASKS_FOR[attempt.kind]
        policies = [change.policy for change in self._changes if change.policy is not None]
        prices = [policy["prices"].get(event_type, policy["prices"].get("*", 0)) for policy in policies]
        cost = max(prices, default=0) * units
        granted = sum(change.credits for change in self._changes if _is_done(change, attempt.begun_at))
        present = [
            grant.credits - taken.most(during)
            for grant, taken in self._periods
            if during.touch(grant.effective_at, grant.expires_at or during.last)
        ]
        left = max(granted - self._spent.most(during), min(present, default=0))
        return f"at least {left} credits were left, and it costs {cost} at most" if left >= cost else ""


def _amount(quota: Quota, hold: HoldRow) -> tuple[datetime | None, int, datetime | None]:
    return hold.held_at, quota.amount(hold), _released_at(hold)


def _credits(hold: HoldRow) -> tuple[datetime | None, int, datetime | None]:
    return hold.held_at, hold.credits, _released_at(hold)


def _released_at(hold: HoldRow) -> datetime | None:
    return hold.closed_at if hold.state == "released" else None


def _is_in(grant: GrantRow, at: datetime) -> bool:
    return grant.effective_at <= at and (grant.expires_at is None or at < grant.expires_at)


def _is_done(change: Change, at: datetime) -> bool:
    return change.done_at is not None and change.done_at <= at
