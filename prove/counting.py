"""What was sold against what is there: the callers' log compared with plays and charges, for every shop alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prove.history import Attempt

REFUSED = 429


@dataclass(frozen=True, slots=True)
class Sales:
    """What the databases hold, a row each.

    `plays` are client and operation: what a caller wanted, once, however often it asked. `charges` are operations; a
    charge of no play there is bears an id that is no operation's.
    """

    plays: Sequence[tuple[str, str]] = ()
    charges: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """The figures of a shop, at a moment or at the end."""

    sent: int = 0
    """Requests, those that were sent again because no answer came among them."""
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    """Requests whose answer got lost, or was an error: the caller cannot know, and asks again."""
    charged: int = 0
    under_way: int = 0
    """Plays whose charge has yet to come, and charges whose play has; at the end there must be none."""
    oversold: int = 0
    """Plays beyond what their client had credits or quota for."""
    charged_twice: int = 0
    """Charges of a play that was charged before."""
    lost: int = 0
    """Acknowledged plays that are not there; at the end also plays without a charge, and charges without a play."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.oversold == self.charged_twice == self.lost == 0

    @property
    def verdict(self) -> str:
        """What is wrong, or that nothing is."""
        return f"oversold {self.oversold:,}, charged twice {self.charged_twice:,}, lost {self.lost:,}"


def acknowledged_operations(attempts: Sequence[Attempt]) -> set[str]:
    """Return the operations that some caller was told are done."""
    return {attempt.operation for attempt in attempts if attempt.status == 201}


def count_sales(
    attempts: Sequence[Attempt],
    acknowledged: set[str],
    sales: Sales,
    given: Mapping[str, int],
    *,
    is_final: bool,
) -> Count:
    """Hold the log against the databases. While selling goes on, what is under way is not lost.

    `acknowledged` is from before `sales` was read, and `given`, the plays that each client may have, from after it:
    so what happens meanwhile is never counted as a fault.
    """
    operations = {operation for _, operation in sales.plays}
    charges = Counter(sales.charges)
    missing = len(acknowledged - operations)
    unpaid_or_unfounded = len(operations ^ charges.keys())
    plays_of = Counter(client_id for client_id, _ in sales.plays)
    return Count(
        sent=len(attempts),
        acknowledged=len(acknowledged),
        refused=sum(attempt.status == REFUSED for attempt in attempts),
        unanswered=sum(attempt.is_unknown and attempt.ended_at is not None for attempt in attempts),
        charged=len(sales.charges),
        under_way=0 if is_final else unpaid_or_unfounded,
        oversold=sum(max(0, plays - given.get(client_id, 0)) for client_id, plays in plays_of.items()),
        charged_twice=len(sales.charges) - len(charges),
        lost=missing + (unpaid_or_unfounded if is_final else 0),
    )
