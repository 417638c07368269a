"""Search all states breadth first, so that the first violation found has the shortest history there is."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.policies import Policy
from tests.model.protocol import LIVE, SCENARIOS, Model, Scenario, State, Step, begin


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The shortest way into a violation."""

    scenario: Scenario
    violation: str
    history: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many states were visited in a scenario, and the first violation found in one."""

    states: int
    counterexample: Counterexample | None


def find_counterexample(policy: Policy) -> Counterexample | None:
    """Search the scenarios under a policy, one after the other, up to the first violation."""
    verdicts = (search(Model(scenario, policy)) for scenario in SCENARIOS)
    return next((verdict.counterexample for verdict in verdicts if verdict.counterexample is not None), None)


def search(model: Model) -> Verdict:
    """Look for the nearest state that is wrong, or from which the way leads to a wrong rest."""
    first = begin(model.scenario)
    came_from: dict[State, Step | None] = {first: None}
    waiting = deque([first])
    ends: dict[State, State] = {}
    while waiting:
        state = waiting.popleft()
        violation, end = next(check_always(model, state), ""), list[str]()
        if not violation:
            violation = next(check_rest(model, _run_its_course(model, state, ends)), "")
            end = ["nothing breaks any more, and everything runs its course"]
        if violation:
            found = Counterexample(model.scenario, violation, (*_history(came_from, state), *end))
            return Verdict(len(came_from), found)
        for words, after in model.steps(state):
            if after not in came_from:
                came_from[after] = (words, state)
                waiting.append(after)
    return Verdict(len(came_from), None)


def check_always(model: Model, state: State) -> Iterator[str]:
    """Yield what is wrong in a state, whatever may come after it."""
    plays = model.scenario.plays
    if state.wrong:
        yield state.wrong
    if model.available(state) < 0:
        yield f"oversold: {-model.available(state)} credit more is spent or held than there is"
    for play in set(plays):
        charged = model.charged(state, play)
        if charged > 1:
            yield f"play {play} is charged {charged} times"
    for attempt, play in enumerate(plays):
        is_lost = play not in state.plays and not (state.is_restored and model.scenario.restored == "activity")
        if state.stages[attempt] == "acknowledged" and is_lost:
            yield f"attempt {attempt} was acknowledged, and play {play} is not there"


def check_rest(model: Model, state: State) -> Iterator[str]:
    """Yield what is wrong where nothing happens any more: facts and charges are the same, and nothing is held."""
    if model.available(state) != model.scenario.credits - sum(state.charges) and not set(LIVE) & set(state.holds):
        yield "at rest credits are neither spent nor held, and nobody can spend them"
    for play in sorted(set(model.scenario.plays)):
        charged = model.charged(state, play)
        if play in state.plays and not charged:
            yield f"at rest play {play} is there and not charged"
        # After activity was restored, charges without a fact are for a person to look at.
        if play not in state.plays and charged and not (state.is_restored and model.scenario.restored == "activity"):
            yield f"at rest play {play} is charged and not there"
    for hold, stands in enumerate(state.holds):
        if stands in LIVE:
            yield f"at rest hold {hold} is still held: its credit is lost for ever"


def _run_its_course(model: Model, state: State, ends: dict[State, State]) -> State:
    """Return the state in which nothing happens any more, when from here on nothing breaks.

    One fair order of steps stands for all: every step that can be taken is taken, until none changes anything.
    `ends` remembers where states led to.
    """
    way: list[State] = []
    while state not in ends:
        way.append(state)
        step = next((step for step in model.fair_steps(state) if step[1] != state), None)
        step = step or next(_time_runs_out(model, state), None)
        if step is None:
            ends[state] = state
        else:
            state = step[1]
    end = ends[state]
    ends.update(dict.fromkeys(way, end))
    return end


def _time_runs_out(model: Model, state: State) -> Iterator[Step]:
    """Yield the end of an attempt that waits for an answer nobody will give."""
    for attempt, stage in enumerate(state.stages):
        if stage == "asked":
            yield from model.give_up_waiting(state, attempt)


def _history(came_from: dict[State, Step | None], state: State) -> tuple[str, ...]:
    words: list[str] = []
    while (step := came_from[state]) is not None:
        words.append(step[0])
        state = step[1]
    return tuple(reversed(words))
