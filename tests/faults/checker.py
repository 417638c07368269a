"""What must be true after a run: the product's own audits, and the clients' log held against the databases.

The numbers are those of the invariants in the documentation. Time in proportion to history and rows, but for sorting.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from prove.history import Attempt, Change, Record
from service_chassis.cli.audit_report import Finding

RELEASE_SLACK = timedelta(seconds=10)
"""A release bears the time at which it was decided, and is felt when it commits: later by as long as a lock, a frozen
server and its retry may take."""


@dataclass(frozen=True, slots=True)
class PlayRow:
    """A play as it stands; `marker` is the operation whose body it was made from."""

    play_id: str
    client_id: str
    marker: str
    key: str | None
    is_ended: bool


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold as it stands; `credits` and events (1) are taken from `held_at` on, until `closed_at` if released."""

    client_id: str
    event_id: str
    state: str
    credits: int
    held_at: datetime | None
    closed_at: datetime | None
    late: bool


def check_history(
    history: Record, plays: Sequence[PlayRow], holds: Sequence[HoldRow], *, clock_skew_seconds: float = 0
) -> Iterator[Finding]:
    """Yield every violation that the log shows, with the product's audits checking the rest.

    `clock_skew_seconds`: how far the clock of a process was off, at most, in this run.
    """
    yield from check_creates(history.attempts, plays)
    yield from check_completions(history.attempts, plays)
    yield from check_keys(history.attempts, plays)
    yield from check_refusals(history, holds, timedelta(seconds=clock_skew_seconds))
    yield from check_late(holds)
    for read in history.torn_reads:
        yield Finding("3-torn-read", read.partition(":")[0], read)


def check_creates(attempts: Sequence[Attempt], plays: Sequence[PlayRow]) -> Iterator[Finding]:
    """1: every acknowledged create is there; nothing is there that nobody asked for; nothing refused is there."""
    asked: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.kind == "create":
            asked[attempt.operation].append(attempt)
    made: dict[str, list[PlayRow]] = defaultdict(list)
    for play in plays:
        made[play.marker].append(play)
    for marker, rows in made.items():
        if marker not in asked:
            yield Finding("1-unasked", marker, f"plays {[play.play_id for play in rows]} were asked for by nobody")
        elif len(rows) > 1:
            yield Finding("1-created-twice", marker, f"one create made plays {[play.play_id for play in rows]}")
        elif all(attempt.is_refused for attempt in asked[marker]):
            yield Finding("1-refused-and-created", marker, f"refused every time, and play {rows[0].play_id} is there")
    for operation, tries in asked.items():
        acknowledged = {attempt.answer["data"]["id"] for attempt in tries if attempt.status == 201}
        there = {play.play_id for play in made.get(operation, ())}
        if lost := acknowledged - there:
            yield Finding("1-lost-create", operation, f"acknowledged plays {sorted(lost)} are not there")


def check_completions(attempts: Sequence[Attempt], plays: Sequence[PlayRow]) -> Iterator[Finding]:
    """1, for completions: an acknowledged one stands, a refused one never happened, and none came by itself."""
    tries: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.kind == "complete" and attempt.play_id is not None:
            tries[attempt.play_id].append(attempt)
    for play in plays:
        ends = tries.get(play.play_id, [])
        if play.is_ended and not ends:
            yield Finding("1-unasked-completion", play.play_id, "ended, and nobody asked")
        elif play.is_ended and all(attempt.is_refused for attempt in ends):
            yield Finding("1-refused-and-completed", play.play_id, "refused every time, and ended all the same")
        elif not play.is_ended and any(attempt.status == 200 for attempt in ends):
            yield Finding("1-lost-completion", play.play_id, "its completion was acknowledged, and is not there")


def check_keys(attempts: Sequence[Attempt], plays: Sequence[PlayRow]) -> Iterator[Finding]:
    """5: one key, one play, one body; the key with another body never has an effect."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for attempt in attempts:
        if attempt.key is not None and attempt.status == 201:
            answers[attempt.key].setdefault(repr(attempt.answer), attempt.operation)
    for key, different in answers.items():
        if len(different) > 1:
            yield Finding("5-key-with-two-answers", key, f"answered {len(different)} different bodies with 201")
    made: dict[str, list[PlayRow]] = defaultdict(list)
    for play in plays:
        if play.key is not None:
            made[play.key].append(play)
        elif play.marker.startswith("other-"):
            yield Finding("5-other-body", play.marker, "a body that came second under a key made a play")
    for key, rows in made.items():
        if len(rows) > 1:
            yield Finding("5-key-with-two-plays", key, f"plays {[play.play_id for play in rows]}")


def check_late(holds: Sequence[HoldRow]) -> Iterator[Finding]:
    """2 and 3: nothing is charged without the hold that was set aside for it, where no database lost its memory."""
    for hold in holds:
        if hold.late:
            yield Finding("3-late-charge", hold.event_id, f"{hold.client_id} was charged without a live hold")


class _Taken:
    """How much of a client's credits and quota can have been taken at a moment, at most."""

    def __init__(self, holds: Sequence[HoldRow]) -> None:
        taken = sorted((hold.held_at, hold.credits) for hold in holds if hold.held_at is not None)
        freed = sorted(
            (hold.closed_at, hold.credits)
            for hold in holds
            if hold.state == "released" and hold.closed_at is not None and hold.held_at is not None
        )
        self._taken_at, self._freed_at = [at for at, _ in taken], [at for at, _ in freed]
        self._taken = [0, *accumulate(credits for _, credits in taken)]
        self._freed = [0, *accumulate(credits for _, credits in freed)]

    def most(self, begun_at: datetime, ended_at: datetime, skew: timedelta) -> tuple[int, int]:
        """Return the most credits, and the most events, that were taken at some moment between the two."""
        taken = bisect_right(self._taken_at, ended_at + skew)
        freed = bisect_left(self._freed_at, begun_at - RELEASE_SLACK - skew)
        return self._taken[taken] - self._freed[freed], taken - freed


def check_refusals(history: Record, holds: Sequence[HoldRow], skew: timedelta) -> Iterator[Finding]:
    """4: each quota or balance 429 has a moment during its request at which the limit could have been reached."""
    by_client: dict[str, list[HoldRow]] = defaultdict(list)
    for hold in holds:
        by_client[hold.client_id].append(hold)
    taken = {client_id: _Taken(rows) for client_id, rows in by_client.items()}
    limits = _Limits(history.changes)
    for attempt in history.attempts:
        if attempt.code not in ("api_balance_exhausted", "api_quota_exceeded") or attempt.ended_at is None:
            continue
        known = taken.get(attempt.client_id)
        credits, events = known.most(attempt.begun_at, attempt.ended_at, skew) if known else (0, 0)
        if attempt.code == "api_quota_exceeded":
            limit = limits.least_quota(attempt.client_id, attempt.begun_at)
            if events < limit:
                yield _false(attempt, f"at most {events} of {limit} events were taken")
        else:
            granted = limits.least_granted(attempt.client_id, attempt.begun_at)
            price = limits.highest_price(attempt.client_id)
            if granted - credits >= price:
                yield _false(attempt, f"at least {granted - credits} credits were left, and it costs {price} at most")


def _false(attempt: Attempt, why: str) -> Finding:
    return Finding("4-false-refusal", attempt.operation, f"{attempt.client_id}, {attempt.code}: {why}")


class _Limits:
    """What operators had given a client for certain by a moment. Quotas and grants only ever grow in a run."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._grants: Mapping[str, list[Change]] = defaultdict(list)
        self._quotas: Mapping[str, list[Change]] = defaultdict(list)
        self._prices: dict[str, int] = defaultdict(int)
        for change in changes:
            if change.price is not None:
                self._prices[change.client_id] = max(self._prices[change.client_id], change.price)
            if change.done_at is not None:
                (self._grants if change.credits else self._quotas)[change.client_id].append(change)

    def least_granted(self, client_id: str, at: datetime) -> int:
        """Return the credits of grants that were acknowledged by then."""
        return sum(change.credits for change in self._grants[client_id] if change.done_at and change.done_at <= at)

    def least_quota(self, client_id: str, at: datetime) -> int:
        """Return the highest quota that was acknowledged by then."""
        done = [change.quota or 0 for change in self._quotas[client_id] if change.done_at and change.done_at <= at]
        return max(done, default=0)

    def highest_price(self, client_id: str) -> int:
        """Return the highest price that was ever tried."""
        return self._prices[client_id]
