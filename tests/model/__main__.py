"""`python -m tests.model`: search the protocol and its alternatives, and print what is found."""

from tests.model.policies import ALTERNATIVES, PROTOCOL, Policy
from tests.model.protocol import SCENARIOS, Model, Scenario
from tests.model.search import find_counterexample, search


def render_protocol(scenario: Scenario) -> str:
    """Return the verdict on the protocol in a scenario."""
    verdict = search(Model(scenario, PROTOCOL))
    if verdict.counterexample is None:
        return f"{scenario.name}: holds in all of {verdict.states:,} states"
    return f"{scenario.name}: fails\n{_render_history(verdict.counterexample.history)}"


def render_alternative(policy: Policy) -> str:
    """Return the shortest counterexample to a policy."""
    found = find_counterexample(policy)
    if found is None:
        return f"{policy.name}\n  holds"
    history = _render_history(found.history)
    return f"{policy.name}\n  fails with {found.scenario.name}:\n{history}\n  => {found.violation}"


def _render_history(history: tuple[str, ...]) -> str:
    return "\n".join(f"  {number:3}. {words}" for number, words in enumerate(history, 1))


def main() -> None:
    """Print all verdicts, each as soon as it is there."""
    for scenario in SCENARIOS:
        print(render_protocol(scenario), flush=True)
    for policy in ALTERNATIVES:
        print(f"\n{render_alternative(policy)}", flush=True)


if __name__ == "__main__":
    main()
