"""Call metering about many events, and where the call fails as a whole find out whose fault it is, by halves."""

from collections.abc import Awaitable, Callable, Sequence

from metering_client.errors import MeteringFault, MeteringRefusedCall, MeteringUnavailable
from metering_client.event import BillableEvent

MAX_FAILED_CALLS = 40
"""Of one batch; enough to find four bad events among 500. What is not found by then waits for the next round."""

NOT_NOW = "error"
"""What metering says of an event that it could not charge or release now, and what is said of one it was not told."""
NOT_READ = "refused call"
"""What is said of an event that metering does not even read."""

Call = Callable[[Sequence[BillableEvent]], Awaitable[Sequence[str]]]
"""Tells metering of events and returns the state of each, in order."""


async def call_by_halves(call: Call, events: Sequence[BillableEvent]) -> list[str]:
    """Return the state of each of `events`, in order: metering's word, NOT_NOW or NOT_READ.

    A call that metering refuses or that fails there is repeated by halves, clients together, down to the event. One
    that metering did not respond to is not: it says nothing about its events.
    """
    states = [NOT_NOW] * len(events)
    waiting = [sorted(range(len(events)), key=lambda index: events[index].client_id)]
    failed_calls = 0
    while waiting and failed_calls < MAX_FAILED_CALLS:
        indexes = waiting.pop()
        try:
            told = await call([events[index] for index in indexes])
        except (MeteringFault, MeteringRefusedCall) as error:
            failed_calls += 1
            if len(indexes) > 1:
                middle = len(indexes) // 2
                waiting += [indexes[middle:], indexes[:middle]]
                continue
            told = [NOT_READ if isinstance(error, MeteringRefusedCall) else NOT_NOW]
        except MeteringUnavailable:
            break  # the rest would wait out its time, too
        for index, state in zip(indexes, told, strict=True):
            states[index] = state
    return states
