"""The protocol holds in every interleaving, and each of the usual alternatives fails in one."""

from pathlib import Path

import pytest

from tests.model.__main__ import render
from tests.model.policies import ALTERNATIVES, PROTOCOL, Policy
from tests.model.search import search

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol-model.md"

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
    "charge first, without a hold": "charged and not there",
    "commits that are not synchronous": "was acknowledged, and play 0 is not there",
}


def test_protocol_keeps_every_invariant_and_converges_from_every_state() -> None:
    verdict = search(PROTOCOL)
    assert verdict.counterexample is None
    assert verdict.states > 10_000, "the search is not what it was: look whether steps are missing"


@pytest.mark.parametrize("policy", ALTERNATIVES, ids=lambda policy: policy.name)
def test_alternative_fails_as_the_document_says(policy: Policy) -> None:
    found = search(policy).counterexample
    assert found is not None
    assert VIOLATIONS[policy.name] in found.violation


@pytest.mark.parametrize("policy", [PROTOCOL, *ALTERNATIVES], ids=lambda policy: policy.name)
def test_document_shows_what_the_search_prints(policy: Policy) -> None:
    assert render(policy) in DOCUMENT.read_text(), "docs/protocol-model.md: put in what python -m tests.model prints"


def test_counterexample_is_the_shortest() -> None:
    found = search(Policy("release in doubt", release_in_doubt=True)).counterexample
    assert found is not None
    # Nothing can be left out: two ask, one is granted, commits in doubt and releases; the other is granted.
    assert len(found.history) == 9
