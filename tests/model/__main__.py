"""`python -m tests.model`: search the protocol and its alternatives, and print what is found."""

from tests.model.policies import ALTERNATIVES, PROTOCOL, Policy
from tests.model.search import search


def render(policy: Policy) -> str:
    """Return the verdict on a policy, with the shortest counterexample if it fails."""
    verdict = search(policy)
    if verdict.counterexample is None:
        return f"{policy.name}\n  holds in all of {verdict.states:,} states"
    found = verdict.counterexample
    lines = [policy.name, f"  fails with {found.scenario.name}:"]
    lines += [f"  {number:3}. {words}" for number, words in enumerate(found.history, 1)]
    return "\n".join([*lines, f"  => {found.violation}"])


def main() -> None:
    """Print all verdicts."""
    print("\n\n".join(render(policy) for policy in (PROTOCOL, *ALTERNATIVES)))


if __name__ == "__main__":
    main()
