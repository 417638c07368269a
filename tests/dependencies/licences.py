"""The licences of everything that a running service is made of, as they are kept in docs/licences.md.

    python -m tests.dependencies.licences     # write the page anew: make release-check asks whether it is true

They are read from the packages' own metadata, so from those that are installed here.
"""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata

from local_stack.processes import REPOSITORY

PAGE = REPOSITORY / "docs" / "licences.md"
LOCK = REPOSITORY / "requirements" / "service.lock"
ACCEPTED = ("Apache", "BSD", "ISC", "LGPL-3.0", "MIT", "MPL", "Mozilla", "PSF", "Python Software Foundation")
"""Those under which a package may be used unchanged in a service that others run."""

_HEAD = """\
# Licences

What a service needs at run time, and under which licence: read from the packages themselves by
`python -m tests.dependencies.licences`. All are used unchanged. The project's own is
[Apache-2.0](../LICENSE).

| package | version | licence |
|---|---|---|
"""


def render() -> str:
    """Return the page. Raises SystemExit where a licence is not known, or not one of those that are accepted."""
    rows = []
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", LOCK.read_text(), re.M):
        try:
            licence = _read_licence(metadata(name))
        except PackageNotFoundError:
            continue  # of another system or Python
        if not any(word in licence for word in ACCEPTED):
            raise SystemExit(f"{name} {version}: its licence, {licence or 'none'}, is not one of {ACCEPTED}")
        rows.append(f"| {name} | {version} | {licence} |")
    return _HEAD + "\n".join(rows) + "\n"


def _read_licence(found: PackageMetadata) -> str:
    fields = {name: found.get_all(name) or [] for name in ("License-Expression", "Classifier", "License")}
    kinds = [each.rpartition(" :: ")[2] for each in fields["Classifier"] if each.startswith("License")]
    told = fields["License-Expression"] or ["; ".join(kinds)]
    return str(told[0] or "".join(fields["License"][:1]).partition("\n")[0])


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.relative_to(REPOSITORY)}")
