"""`python -m metering_client sql`: the tables of billing, as SQL to copy into one's own migrations."""

import sys

from metering_client.tables import write_sql

USAGE = (
    "usage: python -m metering_client sql > migrations/NNNN_billing.sql, then put your own query into billable_fact"
)


def main(arguments: list[str]) -> None:
    """Print the SQL."""
    if arguments != ["sql"]:
        raise SystemExit(USAGE)
    print(write_sql(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
