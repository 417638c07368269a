"""When is a fast answer a wrong one."""

from bench.tally import Tally
from bench.wrk import Load


def load(requests: int, refused: int = 0) -> Load:
    return Load(requests, 1.0, refused, broken=0, p50=0.0, p99=0.0)


def test_every_acknowledged_event_must_be_kept() -> None:
    tally = Tally()
    tally.count(load(100), connections=4)
    assert tally.check(100, "events") == []
    assert tally.check(99, "events") != []


def test_no_more_may_be_kept_than_the_connections_were_cut_off_with() -> None:
    tally = Tally()
    tally.count(load(100), connections=4, things_a_request=32)
    assert tally.check(3200 + 128, "events") == []
    assert tally.check(3200 + 129, "events") != []


def test_refusals_are_not_taken_for_acknowledgements() -> None:
    tally = Tally()
    tally.count(load(100, refused=10), connections=0)
    assert tally.check(90, "events") == []
    assert tally.check(100, "events") != []
