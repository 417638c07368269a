"""Was everything that was acknowledged kept, once, and nothing made up?"""

from dataclasses import dataclass

import psycopg

from bench.wrk import Load


@dataclass(slots=True)
class Tally:
    """What the load saw acknowledged, over all of its runs."""

    acknowledged: int = 0
    cut_off: int = 0
    """At the most: each run ends with a request on every connection whose answer nobody waits for."""

    def count(self, load: Load, connections: int, things_a_request: int = 1) -> Load:
        """Take a run in, and answer it."""
        self.acknowledged += (load.requests - load.refused) * things_a_request
        self.cut_off += connections * things_a_request
        return load

    def check(self, kept: int, thing: str) -> list[str]:
        """Return what is wrong with so many things found in the database; [] when nothing is."""
        if self.acknowledged <= kept <= self.acknowledged + self.cut_off:
            return []
        return [
            f"{self.acknowledged} {thing} were acknowledged (and at most {self.cut_off} cut off), {kept} are kept"
        ]


def count_rows(dsn: str, query: str) -> int:
    """Return the one number that a query of ours finds."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
