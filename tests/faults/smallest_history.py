"""The smallest history that still shows a violation: nothing of what is printed can be left out.

Delta debugging (`ddmin`: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) over all
that the checker was given, which runs again on each part. What is left must lead to the very same finding, to the
letter: a part that only misses what excused or explained something would say something else.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

from prove.history import Attempt, Change, Record
from service_chassis.cli.audit_report import Finding
from tests.faults.checker import Conditions, check_history
from tests.faults.rows import HoldRow, PlayRow

Item = TypeVar("Item")
Piece = Attempt | Change | PlayRow | HoldRow | str


def find_smallest_history(
    finding: Finding,
    record: Record,
    plays: Sequence[PlayRow],
    holds: Sequence[HoldRow],
    conditions: Conditions | None = None,
) -> list[Piece]:
    """Return what of the log and of the rows is needed for `finding`; empty when the checker does not make it.

    It does not when an audit of the product found it: that looks at the databases alone.
    """

    def shows(pieces: Sequence[Piece]) -> bool:
        part = Record(
            attempts=[piece for piece in pieces if isinstance(piece, Attempt)],
            changes=[piece for piece in pieces if isinstance(piece, Change)],
            torn_reads=[piece for piece in pieces if isinstance(piece, str)],
        )
        found = check_history(
            part,
            [piece for piece in pieces if isinstance(piece, PlayRow)],
            [piece for piece in pieces if isinstance(piece, HoldRow)],
            conditions,
        )
        return finding in found

    everything: list[Piece] = [*record.changes, *record.attempts, *record.torn_reads, *plays, *holds]
    return shrink(everything, shows) if shows(everything) else []


def shrink(items: Sequence[Item], shows: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """Return a part of `items`, in order, that `shows` holds for, and for none that lacks just one more of them."""
    left = list(items)
    pieces = 2
    while left:
        size = -(-len(left) // pieces)
        cuts = [(start, start + size) for start in range(0, len(left), size)]
        parts = [left[start:end] for start, end in cuts] if pieces == 2 else []
        without = [left[:start] + left[end:] for start, end in cuts]
        smaller = next((part for part in (*parts, *without) if len(part) < len(left) and shows(part)), None)
        if smaller is not None:
            left, pieces = smaller, max(2, pieces - 1)
        elif size == 1:
            break
        else:
            pieces = min(len(left), pieces * 2)
    return left


def describe(pieces: Sequence[Piece]) -> Iterator[str]:
    """Yield a line for each: what it is, and its fields as JSON."""
    for piece in pieces:
        if isinstance(piece, str):
            yield f"read {piece}"
        else:
            fields = {name: value for name, value in asdict(piece).items() if value is not None}
            yield f"{_WORDS[type(piece)]} {json.dumps(fields, default=str)}"


_WORDS: dict[type, str] = {Attempt: "request", Change: "operator", PlayRow: "there is play", HoldRow: "there is hold"}
