"""Secrets that everybody knows: a service does not start with one of them, unless all stays on one machine."""

import hashlib

from service_chassis.process_settings import ProcessSettings
from service_chassis.settings import LOCAL_ONLY, InvalidSettings, is_local_only

_KNOWN_TO_ALL = frozenset(
    (
        "",
        "admin",
        "changeme",
        "change-me",
        "default",
        "key",
        "password",
        "postgres",
        "redis",
        "root",
        "secret",
        "test",
    )
)
"""What stands in examples and in images."""
_KNOWN_HASHES = frozenset(hashlib.sha256(secret.encode()).hexdigest() for secret in _KNOWN_TO_ALL)


def require_own_secrets(settings: ProcessSettings) -> None:
    """Raise InvalidSettings, naming the variables, where a secret is empty or one that everybody knows.

    LOCAL_ONLY=yes in the environment lets them pass. A URL without any password passes, too: there are servers that
    know who asks in another way.
    """
    if is_local_only():
        return
    known = _KNOWN_TO_ALL | _KNOWN_HASHES
    names = [name for name, secrets in settings.name_secrets().items() if not known.isdisjoint(secrets)]
    if names:
        raise InvalidSettings(
            "\n".join(
                f"{name}: its secret is empty or widely known; only {LOCAL_ONLY}=yes allows that" for name in names
            )
        )
