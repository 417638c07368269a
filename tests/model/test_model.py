"""The protocol holds in every interleaving, and each of the usual alternatives fails in one."""

from pathlib import Path

import pytest

from tests.model.__main__ import render_alternative, render_protocol
from tests.model.policies import ALTERNATIVES, Policy
from tests.model.protocol import SCENARIOS, Scenario
from tests.model.search import find_counterexample

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol-model.md").read_text()

VIOLATIONS = {
    "holds time out, late settles are refused": "at rest play 0 is there and not charged",
    "holds time out, late settles are charged": "oversold",
    "outbox row after the commit": "at rest play 0 is there and not charged",
    "release when the outcome of COMMIT is unknown": "oversold",
    "sweeper without a fence": "oversold",
    "no sweeper": "still held",
    "a new event id for each attempt": "was refused, and there is credit",
    "open while metering does not answer": "oversold",
    "look at the balance, then write": "oversold",
    "a partial settle gives nothing back": "nobody can spend them",
    "charge first, without a hold": "charged and not there",
    "commits that are not synchronous": "was acknowledged, and play 0 is not there",
    "the hold of a timed-out request is left to lie": "which nobody uses or gives back",
    "give a shared hold back without asking the fence": "a charge came late",
    "ask anew without waiting for the release": "is granted it again",
    "give up without looking for the fact": "at rest play 0 is there and not charged",
    "forget what was given up, and use holds of any age": "oversold",
    "forget what was given up while its hold may be used": "oversold",
    "forget released holds while an attempt may still live": "which was released before",
}


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, id=each.name, marks=[pytest.mark.system] if each.is_long else []) for each in SCENARIOS],
)
def test_protocol_keeps_every_invariant_and_converges_from_every_state(scenario: Scenario) -> None:
    verdict = render_protocol(scenario)
    assert "holds in all of" in verdict
    # The document names the number of states: fewer of them mean that steps are missing.
    assert verdict in DOCUMENT, "docs/protocol-model.md: put in what python -m tests.model prints"


LONG_TO_SEARCH = ("forget ", "give up without looking")
"""How the alternatives begin whose violation takes seconds to find."""


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.system] if each.name.startswith(LONG_TO_SEARCH) else [])
        for each in ALTERNATIVES
    ],
)
def test_alternative_fails_as_the_document_says(policy: Policy) -> None:
    verdict = render_alternative(policy)
    assert VIOLATIONS[policy.name] in verdict
    assert verdict in DOCUMENT, "docs/protocol-model.md: put in what python -m tests.model prints"


def test_counterexample_is_the_shortest() -> None:
    found = find_counterexample(Policy("release in doubt", release_in_doubt=True))
    assert found is not None
    # Nothing can be left out: one is granted and commits in doubt; its hold goes to the other; it is charged.
    assert len(found.history) == 6
