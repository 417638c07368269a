"""Keys that other services and operators have: random, long, known here by name and SHA-256."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service_chassis.settings import InvalidSettings


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What a key opens. `name` is whose it is, and stands in the audit trail of admin changes."""

    scope: str
    name: str


def read_service_keys(variable: str, entries: Iterable[str], scopes: Sequence[str]) -> Mapping[bytes, ServiceKey]:
    """Return the keys of `scope:name:sha256hex` entries by their SHA-256. Raises InvalidSettings naming `variable`.

    Where there is one scope only, entries are `name:sha256hex`. One key is of one scope and name. A key is random
    and long, so its plain hash is safe to keep and to look up.
    """
    scope = f"(?P<scope>{'|'.join(scopes)}):" if len(scopes) > 1 else ""
    form = re.compile(f"{scope}(?P<name>[a-z0-9_-]{{1,64}}):(?P<hash>[0-9a-fA-F]{{64}})")
    keys: dict[bytes, ServiceKey] = {}
    for entry in entries:
        match = form.fullmatch(entry.strip())
        if match is None:
            says = f"scope:name:SHA256, the scope {' or '.join(scopes)}," if scope else "name:SHA256,"
            raise InvalidSettings(
                f"{variable}: each entry must be {says} the name of 1 to 64 small letters, digits, _ and -, the hash "
                "in hex"
            )
        found = match.groupdict(scopes[0])
        key = ServiceKey(found.get("scope", scopes[0]), found["name"])
        if keys.setdefault(bytes.fromhex(found["hash"]), key) != key:
            raise InvalidSettings(f"{variable}: the key of {key.name} is also given another scope or name")
    return keys


def hashes_of(entries: Iterable[str]) -> list[str]:
    """Return the hashes that stand in entries, for `require_own_secrets`."""
    return [entry.rpartition(":")[2].strip().lower() for entry in entries]
