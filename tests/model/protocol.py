"""The billing protocol as a state machine small enough to be searched completely.

Long because a model is read, and compared with the protocol, in one piece.

Two attempts, an activity service with its fence, relay and sweeper, and a metering service with holds and charges.
A message that was sent may arrive at any later time, any number of times, or never. An attempt may stand still at any
point, die at any point, and have the answer to its COMMIT lost. Of time it knows one thing: whether a hold is older
than half the retention, which may become true at any moment. Whatever holds, holds for every timeout.

What is always so is no step of its own: both attempts have sent their question, so that the one that asks late is the
one whose question arrives late; whatever was held once may stand on a list that the sweeper still has; and the relay
may tell of what stands in the outbox at any time.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.policies import Policy

Step = tuple[str, "State"]
"""What happens, in words, and the state after it."""

NO_HOLD = -1
LIVE = ("held", "again")


class Scenario(NamedTuple):
    """Which play each attempt is about, and how many events the client can pay. The same play twice is a retry.

    `holding`: how many credits a hold takes; the fact then costs one, and its settle gives back the rest.
    `is_long`: it lasts long enough for what was given up and released to be forgotten. `restored`: which of the two
    services is once set back to a backup, and how far: "activity" to before its last fact, "metering" to when its
    last charge was held. `patient`: the attempts that ask anew, and that may last as long as a retention.
    """

    name: str
    plays: tuple[int, ...]
    credits: int
    is_long: bool = False
    restored: str = ""
    patient: tuple[int, ...] = (0, 1)
    holding: int = 1


SCENARIOS = (
    Scenario("two plays, credits for one", (0, 1), 1),
    Scenario("two attempts at one play, credits for one", (0, 0), 1),
    Scenario("two attempts at one play, credits for two", (0, 0), 2),
    Scenario("two plays, held for two and charged one, credits for three", (0, 1), 3, holding=2),
    Scenario("two attempts at one play, credits for one, metering restored", (0, 0), 1, restored="metering"),
    Scenario("two attempts at one play, credits for one, activity restored", (0, 0), 1, restored="activity"),
    Scenario("two plays, credits for one, over a long time", (0, 1), 1, is_long=True, patient=(0,)),
    Scenario("two attempts at one play, credits for one, over a long time", (0, 0), 1, is_long=True, patient=(0,)),
)


class State(NamedTuple):
    """Everything that is anywhere. Indexes are attempts, holds (an attempt's first has its number, its second comes
    after all first ones) or plays.

    `stages`: asked, granted, told (that its event is charged already), releasing (waits for the end of a hold that
    was given up), committed (its outbox row still missing), acknowledged, refused, unknown, failed, dead.
    `asking`: the hold that it asks with. `using`: the hold that it was granted last.
    `fences`: "", happened, abandoned. `holds`: "", held, settled, released, forgotten, again (held after it was
    forgotten). `answers`: what metering has answered to questions that somebody waits for: kind, hold asked with,
    hold granted. `releases`: the holds of which a release was sent.
    """

    stages: tuple[str, ...]
    asking: tuple[int, ...]
    using: tuple[int, ...]
    plays: frozenset[int]
    fences: tuple[str, ...]
    holds: tuple[str, ...]
    charges: tuple[int, ...]
    looked: frozenset[int]
    old: frozenset[int]
    is_restored: bool
    answers: frozenset[tuple[str, int, int]]
    releases: frozenset[int]
    wrong: str


def begin(scenario: Scenario) -> State:
    """Return the state in which nothing has happened but that every attempt has asked."""
    many = len(scenario.plays)
    nothing: frozenset[int] = frozenset()
    return State(
        stages=("asked",) * many,
        asking=tuple(range(many)),
        using=(NO_HOLD,) * many,
        plays=nothing,
        fences=("",) * (2 * many),
        holds=("",) * (2 * many),
        charges=(0,) * (2 * many),
        looked=nothing,
        old=nothing,
        is_restored=False,
        answers=frozenset(),
        releases=nothing,
        wrong="",
    )


class Model:
    """The steps that can be taken from a state, under a policy, in a scenario."""

    def __init__(self, scenario: Scenario, policy: Policy) -> None:
        self.scenario = scenario
        self.policy = policy
        self._many = len(scenario.plays)
        self._attempts = range(self._many)
        self._holds = range(2 * self._many)
        self._is_shared = len(set(scenario.plays)) < self._many
        self._events = {
            play: {self.event(hold) for hold in self._holds if self.play_of(hold) == play} for play in scenario.plays
        }

    def play_of(self, hold: int) -> int:
        """Return the play that a hold is for."""
        return self.scenario.plays[hold % self._many]

    def event(self, hold: int) -> int:
        """Return the event id that a hold is for: its play's, or, as a mistake, one of its own."""
        return hold if self.policy.new_event_per_attempt else self.play_of(hold)

    def available(self, state: State) -> int:
        """Return the credits that are neither spent nor held."""
        kept = sum(hold in LIVE for hold in state.holds) * self.scenario.holding
        if not self.policy.gives_back_the_rest:
            kept += state.holds.count("settled") * (self.scenario.holding - 1)
        return self.scenario.credits - sum(state.charges) - kept

    def charged(self, state: State, play: int) -> int:
        """Return how many times a play is charged."""
        return sum(state.charges[event] for event in self._events[play])

    def steps(self, state: State) -> Iterator[Step]:
        """Yield every step that can be taken, faults included."""
        yield from self.fair_steps(state)
        for attempt in self._attempts:
            if state.stages[attempt] in ("asked", "granted", "told", "releasing", "committed"):
                yield f"attempt {attempt} dies", self._end(state, attempt, "dead")
            if state.stages[attempt] == "asked":
                yield from self.give_up_waiting(state, attempt)
            if state.stages[attempt] == "granted":
                for words, after in self._commit(state, attempt):
                    if after.plays != state.plays:
                        lost = self._doubt(self._end(after, attempt, "unknown"), state.using[attempt])
                        yield f"{words}, and the answer to COMMIT is lost", lost
        if self.policy.holds_time_out:
            for hold in self._holds:
                if state.holds[hold] in LIVE:
                    yield f"hold {hold} times out", state._replace(holds=_put(state.holds, hold, "released"))
        if not self.policy.synchronous_commit:
            for play in state.plays:
                yield f"the activity database is killed and forgets play {play}", self._forget(state, play)
        if self.scenario.is_long:
            yield from self._time_passes(state)
        if self.scenario.restored and not state.is_restored:
            yield from self._restore(state)

    def fair_steps(self, state: State) -> Iterator[Step]:
        """Yield the steps that are taken sooner or later where nothing breaks any more."""
        for attempt in self._attempts:
            yield from self._advance(state, attempt)
        for hold in self._holds:
            if state.fences[hold] == "happened":
                yield from self._settle(state, hold)
            if hold in state.releases:
                yield from self._release(state, hold)
            if self.policy.has_sweeper and state.holds[hold]:
                yield from self._resolve(state, hold)
        for attempt in self._attempts:
            for hold in range(attempt, state.asking[attempt] + 1, self._many):
                yield from self._authorize(state, attempt, hold)
        for answer in sorted(state.answers):
            yield self._hear(state, *answer)

    # An attempt, in the activity service.

    def _advance(self, state: State, attempt: int) -> Iterator[Step]:
        match state.stages[attempt]:
            case "granted":
                yield from self._commit(state, attempt)
            case "told":
                yield from self._store_charged(state, attempt)
            case "releasing" if state.holds[hold := state.using[attempt]] != "settled":
                released = state._replace(holds=_put(state.holds, hold, "released"))
                words = f"metering releases hold {hold}, and attempt {attempt} hears it and asks anew"
                yield words, self._ask_anew(released, attempt)
            case "committed":
                fenced = state._replace(fences=_put(state.fences, state.using[attempt], "happened"))
                yield f"attempt {attempt} writes its outbox row", self._end(fenced, attempt, "acknowledged")

    def _commit(self, state: State, attempt: int) -> Iterator[Step]:
        play, hold = self.scenario.plays[attempt], state.using[attempt]
        is_there = play in state.plays
        is_usable = not (state.fences[hold] and self.policy.has_fence)
        if hold in state.old and self.policy.refuses_old_holds:
            is_usable = False
        if not is_usable and is_there:
            yield f"attempt {attempt} finds its play there", self._end(state, attempt, "acknowledged")
        elif not is_usable:
            words = f"attempt {attempt} finds that hold {hold} is not to be used, and releases it"
            after = _send_release(state._replace(fences=_put(state.fences, hold, "abandoned")), hold)
            if attempt != state.asking[attempt]:
                yield words, self._end(after, attempt, "failed")
            elif self.policy.waits_for_release:
                yield words, _stage(after, attempt, "releasing")
            else:
                yield words, self._ask_anew(after, attempt)
        elif self.policy.outbox_with_the_fact:
            fenced = state._replace(plays=state.plays | {play}, fences=_put(state.fences, hold, "happened"))
            words = f"attempt {attempt} commits {'the fence of' if is_there else f'play {play} with'} hold {hold}"
            yield words, self._end(fenced, attempt, "acknowledged")
        else:
            committed = _stage(state._replace(plays=state.plays | {play}), attempt, "committed")
            yield f"attempt {attempt} commits play {play}", committed

    def _store_charged(self, state: State, attempt: int) -> Iterator[Step]:
        play = self.scenario.plays[attempt]
        words = "finds its play there" if play in state.plays else f"stores play {play}, which is charged already"
        yield (
            f"attempt {attempt} {words}",
            self._end(state._replace(plays=state.plays | {play}), attempt, "acknowledged"),
        )

    def _ask_anew(self, state: State, attempt: int) -> State:
        if attempt not in self.scenario.patient:
            return self._end(state, attempt, "failed")
        second = attempt + self._many
        return _stage(state._replace(asking=_put(state.asking, attempt, second)), attempt, "asked")

    def give_up_waiting(self, state: State, attempt: int) -> Iterator[Step]:
        """Yield what an attempt does that has waited long enough for the answer to its authorize."""
        hold, play = state.asking[attempt], self.scenario.plays[attempt]
        failed = self._end(state, attempt, "failed")
        if self.policy.open_without_metering:
            through = _stage(state, attempt, "granted")._replace(using=_put(state.using, attempt, hold))
            yield f"attempt {attempt} gets no answer and goes on without", through
        elif not self.policy.gives_up_at_once:
            yield f"attempt {attempt} gets no answer and fails", failed
        elif not self._is_shared or not self.policy.gives_up_through_fence:
            yield f"attempt {attempt} gets no answer and sends release of hold {hold}", _send_release(failed, hold)
        elif state.fences[hold] == "happened" or (play in state.plays and self.policy.asks_for_the_fact):
            yield f"attempt {attempt} gets no answer and finds that play {play} is there", failed
        else:
            abandoned = failed._replace(fences=_put(state.fences, hold, "abandoned"))
            yield f"attempt {attempt} gets no answer and gives up hold {hold}", _send_release(abandoned, hold)

    def _end(self, state: State, attempt: int, stage: str) -> State:
        """End an attempt; over a long time it is of no matter how, for what an end promises the others show."""
        ended = state._replace(using=_put(state.using, attempt, NO_HOLD))
        return _stage(ended, attempt, "over" if self.scenario.is_long else stage)

    def _doubt(self, state: State, hold: int) -> State:
        return _send_release(state, hold) if self.policy.release_in_doubt else state

    def _forget(self, state: State, play: int) -> State:
        fences = tuple(
            "" if fence == "happened" and self.play_of(hold) == play else fence
            for hold, fence in enumerate(state.fences)
        )
        return state._replace(plays=state.plays - {play}, fences=fences)

    # Relay and sweeper: they die and come back at any point, because they remember nothing but the database.

    def _resolve(self, state: State, hold: int) -> Iterator[Step]:
        is_there = self.play_of(hold) in state.plays and self.policy.asks_for_the_fact
        if not self.policy.has_fence or state.fences[hold] == "abandoned":
            if hold not in state.releases:
                yield f"the sweeper sends release of hold {hold}", _send_release(state, hold)
        elif state.fences[hold] == "happened" or is_there:
            yield from self._settle(state, hold)
        else:
            abandoned = state._replace(fences=_put(state.fences, hold, "abandoned"))
            yield f"the sweeper abandons hold {hold}", abandoned

    # The network, and the metering service.

    def _hear(self, state: State, kind: str, asked: int, hold: int) -> Step:
        attempt = asked % self._many
        match kind:
            case "granted" if state.using[attempt] == hold and hold not in state.old:
                wrong = f"attempt {attempt} gave up hold {hold}, and is granted it again"
                return f"attempt {attempt} is granted hold {hold}", state._replace(wrong=wrong)
            case "granted":
                granted = _stage(state, attempt, "granted")._replace(using=_put(state.using, attempt, hold))
                return f"attempt {attempt} is granted hold {hold}", granted
            case "told":
                return f"attempt {attempt} hears that its event is charged", _stage(state, attempt, "told")
            case "denied":
                refused = self._end(state, attempt, "refused")
                return f"attempt {attempt} is refused", refused._replace(wrong=self._contradicted(state, attempt))
            case _ if asked == attempt:
                return f"attempt {attempt} hears that its hold is over, and asks anew", self._ask_anew(state, attempt)
            case _:
                return f"attempt {attempt} hears that its hold is over", self._end(state, attempt, "failed")

    def _contradicted(self, state: State, attempt: int) -> str:
        play = self.scenario.plays[attempt]
        if self._is_shared:
            return f"attempt {attempt} was refused, and there is credit for the only play there is"
        return f"attempt {attempt} was refused, and play {play} is there" if play in state.plays else ""

    def _authorize(self, state: State, attempt: int, hold: int) -> Iterator[Step]:
        event = self.event(hold)
        if state.holds[hold] == "released":
            yield from self._answer(state, hold, f"refuses the released hold {hold}", "conflict")
        elif live := self._live_holds(state, hold):
            yield from self._answer(state, hold, f"grants attempt {attempt} hold {live[0]} again", "granted", live[0])
        elif state.charges[event]:
            kind = "granted" if self.policy.charge_before_the_fact else "told"
            yield from self._answer(state, hold, f"says that the event of attempt {attempt} is charged", kind, hold)
        elif self.policy.check_then_write and attempt not in state.looked:
            if self.available(state) >= self.scenario.holding:
                looked = state._replace(looked=state.looked | {attempt})
                yield f"metering looks, and has enough for attempt {attempt}", looked
        elif self.available(state) >= self.scenario.holding or attempt in state.looked:
            held = "again" if state.holds[hold] == "forgotten" else "held"
            if self.policy.charge_before_the_fact:
                after = _charge(state._replace(holds=_put(state.holds, hold, "settled")), event)
            else:
                after = state._replace(holds=_put(state.holds, hold, held))
            answered = next(self._answer(after, hold, "", "granted", hold), ("", after))[1]
            yield f"metering grants hold {hold}", answered
        else:
            for words, denied in self._answer(state, hold, f"denies attempt {attempt}", "denied"):
                yield words, denied._replace(wrong=self._false_refusal(state, attempt))

    def _live_holds(self, state: State, hold: int) -> list[int]:
        """Return the live holds of the event that `hold` is for, itself first."""
        event = self.event(hold)
        return [n for n in (hold, *self._holds) if state.holds[n] in LIVE and self.event(n) == event]

    def _answer(self, state: State, asked: int, words: str, kind: str, hold: int = NO_HOLD) -> Iterator[Step]:
        """Yield an answer to a question, if somebody still waits for it."""
        attempt = asked % self._many
        answer = (kind, asked, hold)
        if state.stages[attempt] == "asked" and state.asking[attempt] == asked and answer not in state.answers:
            yield f"metering {words}", state._replace(answers=state.answers | {answer})

    def _false_refusal(self, state: State, attempt: int) -> str:
        """Return what is untrue about refusing an attempt now: it rests on a hold that stands for nobody."""
        for hold, stands in enumerate(state.holds):
            if stands == "again" and hold not in state.old:
                return f"attempt {attempt} is refused for hold {hold}, which was released before"
            # Over a long time questions that were forgotten may come again: what they hold is the sweeper's.
            is_alone = not self._is_shared and not self.scenario.is_long
            is_left = state.stages[hold % self._many] == "failed" and self.play_of(hold) not in state.plays
            if stands == "held" and is_alone and is_left and hold not in state.releases:
                return f"attempt {attempt} is refused for hold {hold}, which nobody uses or gives back"
        return ""

    def _settle(self, state: State, hold: int) -> Iterator[Step]:
        event = self.event(hold)
        noted = state
        if state.fences[hold] == "happened":
            noted = state._replace(fences=_put(state.fences, hold, ""))
        if state.charges[event]:
            yield f"metering says that hold {hold} is settled, and its row is deleted", noted
            return
        live = self._live_holds(state, hold)
        if not live and not self.policy.late_settle_is_charged:
            yield f"metering refuses the late settle of hold {hold}", noted
            return
        if not live and state.fences[hold] != "happened":
            return  # told by ids alone, metering does not know it; told whole is only what stands in the outbox
        charged = _charge(state, event)._replace(holds=_put(state.holds, live[0] if live else hold, "settled"))
        words = (
            f"metering charges hold {live[0]}" if live else f"metering charges late, without a live hold, hold {hold}"
        )
        if not live and self._is_shared and not self.scenario.restored:
            charged = charged._replace(wrong="a charge came late, and its credit may be somebody else's by now")
        yield f"{words}, and the answer is lost", charged
        yield f"{words}, and its row is deleted", charged._replace(fences=noted.fences)

    def _release(self, state: State, hold: int) -> Iterator[Step]:
        if state.holds[hold] not in ("settled", "released"):
            yield f"metering releases hold {hold}", state._replace(holds=_put(state.holds, hold, "released"))

    # Time, and backups.

    def _time_passes(self, state: State) -> Iterator[Step]:
        """Yield what a retention does: at half of it a hold is too old, after it all is forgotten."""
        for hold in self._holds:
            is_old = hold in state.old
            is_first = hold < self._many
            may_last = hold % self._many in self.scenario.patient
            if not is_old and may_last and (is_first or (hold in state.asking and hold - self._many in state.old)):
                yield f"hold {hold} is as old as half the retention", state._replace(old=state.old | {hold})
            if state.fences[hold] == "abandoned" and (is_old or not self.policy.fence_outlives_attempts):
                forgotten = state._replace(fences=_put(state.fences, hold, ""))
                yield f"the fence forgets that hold {hold} was given up", forgotten
            if state.holds[hold] == "released" and (is_old or not self.policy.tombstones_outlive_attempts):
                forgotten = state._replace(holds=_put(state.holds, hold, "forgotten"))
                yield f"metering forgets that hold {hold} was released", forgotten

    def _restore(self, state: State) -> Iterator[Step]:
        """Yield the service as it was before its last change, once."""
        for play in state.plays if self.scenario.restored == "activity" else ():
            after = self._forget(state, play)._replace(is_restored=True)
            yield f"the activity service is restored to before play {play}", after
        for hold, stands in enumerate(state.holds if self.scenario.restored == "metering" else ()):
            if stands == "settled":
                event = self.event(hold)
                after = state._replace(charges=_put(state.charges, event, state.charges[event] - 1), is_restored=True)
                yield (
                    f"metering is restored to when hold {hold} was held",
                    after._replace(holds=_put(state.holds, hold, "held")),
                )


def _put(values: tuple[str, ...] | tuple[int, ...], index: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:index], value, *values[index + 1 :])


def _stage(state: State, attempt: int, stage: str) -> State:
    """Let an attempt go on: what was answered to it before is of no matter any more."""
    answers = frozenset(answer for answer in state.answers if answer[1] % len(state.stages) != attempt)
    return state._replace(stages=_put(state.stages, attempt, stage), answers=answers)


def _send_release(state: State, hold: int) -> State:
    return state._replace(releases=state.releases | {hold})


def _charge(state: State, event: int) -> State:
    return state._replace(charges=_put(state.charges, event, state.charges[event] + 1))
