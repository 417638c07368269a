"""What the callers see of whoever sells: the product, or one of the usual ways to do it."""

from collections.abc import Sequence
from typing import Protocol

from prove.counting import Sales


class Shop(Protocol):
    """Somebody who sells plays to clients, by two processes that take requests alike."""

    name: str
    sellers: Sequence[str]
    """The processes that callers send to."""
    helpers: Sequence[str]
    """What else selling needs: a service's name, or `valkey`; the database server is not named, all need it."""

    async def open(self, client_ids: Sequence[str]) -> None:
        """Make ready to sell to these clients, who have nothing yet. Raises StackError."""

    def url(self, seller: str) -> str:
        """Return the root of a seller's API."""

    def token(self, client_id: str) -> str:
        """Return the bearer token of a client."""

    async def give(self, client_id: str, round_number: int, plays: int, plays_in_all: int) -> None:
        """Let a client have `plays` more; the same round again changes nothing. Raises one of rest.UNREACHABLE."""

    async def fetch_sales(self) -> Sales:
        """Read plays and charges from the databases. Raises one of rest.UNREACHABLE."""

    async def come_to_rest(self) -> None:
        """Wait until nothing is under way any more, or for as long as that may take."""
