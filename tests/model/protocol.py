"""The billing protocol as a state machine small enough to be searched completely.

Two attempts, an activity service with its fence, relay and sweeper, and a metering service with holds and charges.
A message that was sent may be delivered at any later time, any number of times, or never: it stays in `messages`, and
delivering it is a step that may be taken. An attempt may stand still at any point, die at any point, and have the
answer to its COMMIT lost. Nothing here knows of time: whatever holds, holds for every timeout.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.policies import Policy

Step = tuple[str, "State"]
"""What happens, in words, and the state after it."""


class Scenario(NamedTuple):
    """Which play each attempt is about, and how many events the client can pay. The same play twice is a retry."""

    name: str
    plays: tuple[int, ...]
    credits: int


SCENARIOS = (
    Scenario("two plays, credits for one", (0, 1), 1),
    Scenario("two attempts at one play, credits for one", (0, 0), 1),
    Scenario("two attempts at one play, credits for two", (0, 0), 2),
)


class State(NamedTuple):
    """Everything that is anywhere. Indexes are attempts, each with its hold of the same number, or plays.

    `stages`: new, asked, granted, committed (its outbox row still missing), acknowledged, refused, unknown, failed,
    dead.
    """

    stages: tuple[str, ...]
    using: tuple[int, ...]
    plays: frozenset[int]
    fences: tuple[str, ...]
    acknowledged: frozenset[int]
    holds: tuple[str, ...]
    charges: tuple[int, ...]
    looked: frozenset[int]
    messages: frozenset[tuple[str, int, int]]


def begin(scenario: Scenario) -> State:
    """Return the state in which nothing has happened."""
    many = len(scenario.plays)
    nothing: frozenset[int] = frozenset()
    return State(
        ("new",) * many, (-1,) * many, nothing, ("",) * many, nothing, ("",) * many, (0,) * many, nothing, frozenset()
    )


class Model:
    """The steps that can be taken from a state, under a policy, in a scenario."""

    def __init__(self, scenario: Scenario, policy: Policy) -> None:
        self.scenario = scenario
        self.policy = policy
        self._attempts = range(len(scenario.plays))

    def event(self, attempt: int) -> int:
        """Return the event id that an attempt is billed under: its play's, or, as a mistake, one of its own."""
        return attempt if self.policy.new_event_per_attempt else self.scenario.plays[attempt]

    def available(self, state: State) -> int:
        """Return the credits that are neither spent nor held."""
        return self.scenario.credits - sum(state.charges) - state.holds.count("held")

    def steps(self, state: State) -> Iterator[Step]:
        """Yield every step that can be taken, faults included."""
        yield from self.fair_steps(state)
        for attempt in self._attempts:
            if state.stages[attempt] in ("asked", "granted", "committed"):
                yield f"attempt {attempt} dies", _stage(state, attempt, "dead")
            if state.stages[attempt] == "asked":
                yield from self.give_up_waiting(state, attempt)
            if state.stages[attempt] == "granted":
                for words, after in self._commit(state, attempt):
                    if after.stages[attempt] in ("acknowledged", "committed") and after.plays != state.plays:
                        lost = _stage(after, attempt, "unknown")
                        yield f"{words}, and the answer to COMMIT is lost", self._doubt(lost, attempt)
            if self.policy.holds_time_out and state.holds[attempt] == "held":
                yield f"hold {attempt} times out", state._replace(holds=_put(state.holds, attempt, "released"))
        if not self.policy.synchronous_commit:
            for play in state.plays:
                yield f"the activity database is killed and forgets play {play}", self._forget(state, play)

    def fair_steps(self, state: State) -> Iterator[Step]:
        """Yield the steps that are taken sooner or later where nothing breaks any more."""
        for attempt in self._attempts:
            yield from self._advance(state, attempt)
            yield from self._relay(state, attempt)
            yield from self._sweep(state, attempt)
        for message in sorted(state.messages):
            yield from self._deliver(state, *message)

    # An attempt, in the activity service.

    def _advance(self, state: State, attempt: int) -> Iterator[Step]:
        match state.stages[attempt]:
            case "new":
                asked = _stage(state, attempt, "asked")
                yield f"attempt {attempt} asks to be authorized", _send(asked, "authorize", attempt)
            case "granted":
                yield from self._commit(state, attempt)
            case "committed":
                fenced = state._replace(fences=_put(state.fences, state.using[attempt], "happened"))
                yield f"attempt {attempt} writes its outbox row", _stage(fenced, attempt, "acknowledged")

    def _commit(self, state: State, attempt: int) -> Iterator[Step]:
        play, hold = self.scenario.plays[attempt], state.using[attempt]
        if play in state.plays:
            yield f"attempt {attempt} finds its play there", _stage(state, attempt, "acknowledged")
        elif state.fences[hold] == "abandoned" and self.policy.has_fence:
            yield f"attempt {attempt} finds its hold abandoned and rolls back", _stage(state, attempt, "failed")
        elif self.policy.outbox_with_the_fact:
            fenced = state._replace(plays=state.plays | {play}, fences=_put(state.fences, hold, "happened"))
            yield f"attempt {attempt} commits play {play} with its fence", _stage(fenced, attempt, "acknowledged")
        else:
            committed = _stage(state._replace(plays=state.plays | {play}), attempt, "committed")
            yield f"attempt {attempt} commits play {play}", committed

    def give_up_waiting(self, state: State, attempt: int) -> Iterator[Step]:
        """Yield what an attempt does that has waited long enough."""
        if self.policy.open_without_metering:
            through = _stage(state, attempt, "granted")._replace(using=_put(state.using, attempt, attempt))
            yield f"attempt {attempt} gets no answer and goes on without", through
        else:
            yield f"attempt {attempt} gets no answer and fails", _stage(state, attempt, "failed")

    def _doubt(self, state: State, attempt: int) -> State:
        return _send(state, "release", state.using[attempt]) if self.policy.release_in_doubt else state

    def _forget(self, state: State, play: int) -> State:
        fences = tuple(
            "" if fence == "happened" and self.scenario.plays[hold] == play else fence
            for hold, fence in enumerate(state.fences)
        )
        return state._replace(plays=state.plays - {play}, fences=fences)

    # Relay and sweeper: they die and come back at any point, because they remember nothing but the database.

    def _relay(self, state: State, hold: int) -> Iterator[Step]:
        if state.fences[hold] == "happened" and hold not in state.acknowledged:
            yield f"the relay sends settle of hold {hold}", _send(state, "settle", hold)

    def _sweep(self, state: State, hold: int) -> Iterator[Step]:
        if self.policy.has_sweeper and state.holds[hold] == "held":
            yield f"metering lists hold {hold} to the sweeper", _send(state, "listed", hold)

    def _resolve(self, state: State, hold: int) -> Iterator[Step]:
        if not self.policy.has_fence:
            yield f"the sweeper sends release of hold {hold}", _send(state, "release", hold)
        elif state.fences[hold] == "":
            abandoned = state._replace(fences=_put(state.fences, hold, "abandoned"))
            yield f"the sweeper abandons hold {hold}", abandoned
        elif state.fences[hold] == "abandoned":
            yield f"the sweeper sends release of hold {hold}", _send(state, "release", hold)
        else:
            yield f"the sweeper sends settle of hold {hold}", _send(state, "settle", hold)

    # The network, and the metering service.

    def _deliver(self, state: State, kind: str, attempt: int, hold: int) -> Iterator[Step]:
        match kind:
            case "authorize":
                yield from self._authorize(state, attempt)
            case "settle":
                yield from self._settle(state, attempt)
            case "release" if state.holds[attempt] in ("", "held"):
                released = state._replace(holds=_put(state.holds, attempt, "released"))
                yield f"metering releases hold {attempt}", released
            case "listed":
                yield from self._resolve(state, attempt)
            case "granted" if state.stages[attempt] == "asked":
                granted = _stage(state, attempt, "granted")._replace(using=_put(state.using, attempt, hold))
                yield f"attempt {attempt} is granted hold {hold}", granted
            case "denied" if state.stages[attempt] == "asked":
                yield f"attempt {attempt} is refused", _stage(state, attempt, "refused")
            case "conflict" if state.stages[attempt] == "asked":
                yield f"attempt {attempt} hears that its hold is over", _stage(state, attempt, "failed")

    def _authorize(self, state: State, attempt: int) -> Iterator[Step]:
        live = [
            hold
            for hold in self._attempts
            if state.holds[hold] in ("held", "settled") and self.event(hold) == self.event(attempt)
        ]
        if state.holds[attempt] == "released":
            yield f"metering refuses the released hold {attempt}", _send(state, "conflict", attempt)
        elif live:
            yield f"metering grants attempt {attempt} hold {live[0]} again", _send(state, "granted", attempt, live[0])
        elif self.policy.check_then_write and attempt not in state.looked:
            if self.available(state) > 0:
                yield (
                    f"metering looks, and has enough for attempt {attempt}",
                    state._replace(looked=state.looked | {attempt}),
                )
        elif self.available(state) > 0 or attempt in state.looked:
            held = "settled" if self.policy.charge_before_the_fact else "held"
            after = state._replace(holds=_put(state.holds, attempt, held))
            if self.policy.charge_before_the_fact:
                after = _charge(after, self.event(attempt))
            yield f"metering grants hold {attempt}", _send(after, "granted", attempt, attempt)
        else:
            yield f"metering denies attempt {attempt}", _send(state, "denied", attempt)

    def _settle(self, state: State, attempt: int) -> Iterator[Step]:
        event = self.event(attempt)
        noted = state._replace(acknowledged=state.acknowledged | {attempt})
        if state.charges[event]:
            yield f"metering says that hold {attempt} is settled, and the relay notes it", noted
            return
        live = [hold for hold in self._attempts if state.holds[hold] == "held" and self.event(hold) == event]
        if not live and not self.policy.late_settle_is_charged:
            yield f"metering refuses the late settle of hold {attempt}", noted
            return
        charged = _charge(state, event)._replace(holds=_put(state.holds, live[0] if live else attempt, "settled"))
        words = f"metering charges {'hold' if live else 'late, without a live hold, attempt'} {attempt}"
        yield f"{words}, and the answer is lost", charged
        yield words, charged._replace(acknowledged=noted.acknowledged)


def _put(values: tuple[str, ...] | tuple[int, ...], index: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:index], value, *values[index + 1 :])


def _stage(state: State, attempt: int, stage: str) -> State:
    return state._replace(stages=_put(state.stages, attempt, stage))


def _send(state: State, kind: str, attempt: int, hold: int = -1) -> State:
    return state._replace(messages=state.messages | {(kind, attempt, hold)})


def _charge(state: State, event: int) -> State:
    return state._replace(charges=_put(state.charges, event, state.charges[event] + 1))
