"""What must be true after a run: the product's own audits, and the clients' log held against the databases.

The numbers are those of the invariants in the documentation. Time in proportion to history and rows, but for sorting.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from prove.history import Attempt, Record
from service_chassis.cli.audit_report import Finding
from tests.faults.metering_time import Timeline
from tests.faults.refusals import check_refusals
from tests.faults.rows import GrantRow, HoldRow, PlayRow


@dataclass(frozen=True, slots=True)
class Conditions:
    """By what a log is judged: the grants there are, metering's time, and how far a process's clock was off."""

    grants: Sequence[GrantRow] = ()
    time: Timeline = field(default_factory=Timeline)
    clock_skew_seconds: float = 0.0


def check_history(
    history: Record, plays: Sequence[PlayRow], holds: Sequence[HoldRow], conditions: Conditions | None = None
) -> Iterator[Finding]:
    """Yield every violation that the log shows, with the product's audits and the reckoning checking the rest."""
    conditions = conditions or Conditions()
    skew = timedelta(seconds=conditions.clock_skew_seconds)
    yield from check_creates(history.attempts, plays)
    yield from check_completions(history.attempts, plays)
    yield from check_keys(history.attempts, plays)
    yield from check_refusals(history, holds, conditions.grants, conditions.time, skew)
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
