"""`python -m bench.peers.gringotts_users NAME...`: make gringotts' tables and users, print their keys."""

import sys

from gringotts import db
from gringotts.auth import create_user_with_key
from gringotts.cli import main as run_gringotts

CREDITS = 1_000_000_000
"""Its balances are 32-bit integers."""


def main() -> None:
    """Do it."""
    run_gringotts(["init-db"])
    with db.SessionLocal() as session:
        for name in sys.argv[1:]:
            _, key = create_user_with_key(session, name, credits=CREDITS)
            print(f"KEY {key}")


if __name__ == "__main__":
    main()
