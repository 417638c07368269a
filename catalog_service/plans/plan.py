"""A plan: what a client offers its users to work through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import uuid_utils

Associated = Sequence[Mapping[str, str]]
"""What belongs to a plan, as it stands on the wire and in the database: an id and a name each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of one client, known to it by `plan_id`."""

    plan_id: str
    plan_name: str
    description: str
    collection_id: str
    color: str
    created_at: datetime
    updated_at: datetime
    associated_documents: Associated = ()
    associated_supplemental_benefits: Associated = ()


def make_plan_id() -> str:
    """Make an id that is nobody else's and sorts by time (UUIDv7, RFC 9562)."""
    return str(uuid_utils.uuid7())
