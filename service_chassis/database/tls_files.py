"""Files of certificates and keys that the URL of a server names, read at the start to see that they can be used.

No error holds a path: it stands where a secret may stand.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from marshmallow import ValidationError


def require_file(name: str, path: str) -> None:
    """Raise ValidationError unless the file that the parameter `name` names is there to be read."""
    if not (Path(path).is_file() and os.access(path, os.R_OK)):
        raise ValidationError(f"Names in {name} a file that is not there or cannot be read.")


def require_tls_files(
    parameters: Mapping[str, str], *, trusted: tuple[str, ...], certificate: str, key: str, password: str
) -> None:
    """Raise ValidationError unless the files named by the `parameters` of these names hold what they should, in PEM.

    A certificate and its key are named together, or none of them.
    """
    if (certificate in parameters) != (key in parameters):
        raise ValidationError(f"Names {certificate} without {key}, or {key} without {certificate}.")
    for name in {*trusted, certificate, key} & parameters.keys():
        require_file(name, parameters[name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in trusted:
        if name in parameters:
            with _usable_as(name):
                context.load_verify_locations(cafile=parameters[name])
    if key in parameters:
        secret = parameters.get(password, "")
        with _usable_as(f"{certificate} and {key}"):
            context.load_cert_chain(parameters[certificate], parameters[key], password=lambda: secret)


@contextmanager
def _usable_as(names: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):
        raise ValidationError(f"Names in {names} what cannot be used as such.") from None
