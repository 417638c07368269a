"""The protocol's rules as a policy, and the usual alternatives, each the same but for a rule or two."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What the two services do. The defaults are the protocol; every other value is a mistake that is often made."""

    name: str
    outbox_with_the_fact: bool = True
    """The fact and the row that has it charged are one transaction."""
    has_fence: bool = True
    """Whoever resolves a hold first asks the activity database, and the answer stands."""
    has_sweeper: bool = True
    """Somebody looks for holds that were left behind."""
    holds_time_out: bool = False
    """Metering releases a hold by itself after a while."""
    late_settle_is_charged: bool = True
    """A fact whose hold is gone is charged all the same."""
    release_in_doubt: bool = False
    """A request that does not know the outcome of its COMMIT releases its hold."""
    new_event_per_attempt: bool = False
    """The event id names the attempt and not the fact."""
    open_without_metering: bool = False
    """Without an answer from metering the request goes on."""
    check_then_write: bool = False
    """Metering looks at the balance in one step and holds in another."""
    gives_back_the_rest: bool = True
    """What was held and did not happen is free again with the settle."""
    charge_before_the_fact: bool = False
    """There is no hold: the charge is made when it is asked for."""
    synchronous_commit: bool = True
    """What the activity database acknowledged survives its death."""
    gives_up_at_once: bool = True
    """A request that gets no answer to its authorize gives back its hold, through the fence if it is shared."""
    gives_up_through_fence: bool = True
    """A request whose hold another one may share asks the fence before it gives it back."""
    waits_for_release: bool = True
    """A request whose hold was given up asks anew only once metering has said that the hold is released."""
    asks_for_the_fact: bool = True
    """Whoever gives up a hold first looks whether its fact is there: a charged fact has no row in the fence."""
    refuses_old_holds: bool = True
    """The statement that commits a fact refuses a hold that is older than half the retention."""
    fence_outlives_attempts: bool = True
    """What was given up is remembered in the fence until the hold is too old to be used."""
    tombstones_outlive_attempts: bool = True
    """A released hold is remembered at metering until no attempt can come back with it."""


PROTOCOL = Policy("the protocol")

ALTERNATIVES = (
    Policy("holds time out, late settles are refused", holds_time_out=True, late_settle_is_charged=False),
    Policy("holds time out, late settles are charged", holds_time_out=True),
    Policy("outbox row after the commit", outbox_with_the_fact=False, asks_for_the_fact=False),
    Policy("release when the outcome of COMMIT is unknown", release_in_doubt=True),
    Policy("sweeper without a fence", has_fence=False),
    Policy("no sweeper", has_sweeper=False),
    Policy("a new event id for each attempt", new_event_per_attempt=True),
    Policy("open while metering does not answer", open_without_metering=True),
    Policy("look at the balance, then write", check_then_write=True),
    Policy("a partial settle gives nothing back", gives_back_the_rest=False),
    Policy("charge first, without a hold", charge_before_the_fact=True),
    Policy("commits that are not synchronous", synchronous_commit=False),
    Policy("the hold of a timed-out request is left to lie", gives_up_at_once=False),
    Policy("give a shared hold back without asking the fence", gives_up_through_fence=False),
    Policy("ask anew without waiting for the release", waits_for_release=False),
    Policy("give up without looking for the fact", asks_for_the_fact=False),
    Policy("forget what was given up, and use holds of any age", refuses_old_holds=False),
    Policy("forget what was given up while its hold may be used", fence_outlives_attempts=False),
    Policy("forget released holds while an attempt may still live", tombstones_outlive_attempts=False),
)
