"""The three services have the same rooms, and what a room is for is what stands in it (docs/architecture.md)."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = ("catalog_service", "activity_service", "metering_service")
LIBRARY = "metering_client"
PRODUCT = ("service_chassis", LIBRARY, *SERVICES, "local_stack")
MEASURED = (*PRODUCT, "prove", "bench", "tests")

ROOT_FILES = {"__init__", "__main__", "app", "components", "errors", "metrics", "settings"}
ADMINISTERED = {"catalog_service", "metering_service"}
"""Services that have an application of administration, too."""
EVERY_FOLDER = {"api", "cli", "migrations"}
SHARED_FOLDERS = EVERY_FOLDER | {"audit", "sql"}
"""What is no subject."""

SCREEN_LINES = 45
LONG_FILE_LINES = 260
MAX_STATEMENTS = 14_558
"""By Python's own ast, docstrings not counted: what a newcomer has to read. 6,300 is what is aimed at."""

WRITTEN_BY_ANOTHER = {
    ("catalog_service", "client", "plans"): "the version of a client's plans stands in its row, for one row lock",
    ("activity_service", "plan_play", "privacy"): "an erasure takes the person out of every table at once",
    ("activity_service", "billable_event", "privacy"): "an erasure takes the person out of every table at once",
    (
        "metering_service",
        "account",
        "events",
    ): "a decision and what it takes are one transaction, under the account's lock",
    ("metering_service", "counter", "accounts"): "what a wrong clock dated is mended in every table at once",
    ("metering_service", "usage", "events"): "the sums of charges are kept in the transactions that charge",
    ("metering_service", "usage", "accounts"): "what a wrong clock dated is mended in every table at once",
    ("metering_service", "hold", "accounts"): "what a wrong clock dated is mended in every table at once",
    ("metering_service", "ledger_entry", "events"): "a charge and what it frees are one transaction",
}
"""Service, table and the subject that writes it beside the table's own; each with its reason.

A play's fence is in one statement with it, whose part that writes `billable_event` is the library's.
"""

IN_THE_CHASSIS = "service_chassis/database/admin_audit.py"
"""Where the store of a table is that more than one service has."""
OWNERS = {
    "catalog_service": {
        "client": "clients",
        "client_secret": "clients",
        "plan": "plans",
        "signing_key": "tokens",
        "admin_audit": IN_THE_CHASSIS,
    },
    "activity_service": {"plan_play": "plays", "billable_event": LIBRARY, "admin_audit": IN_THE_CHASSIS},
    "metering_service": {
        "policy": "policies",
        "policy_version": "policies",
        "account": "accounts",
        "credit_grant": "accounts",
        "recurring_grant": "accounts",
        "credit_pin": "accounts",
        "credit_draw": "accounts",
        "receipt_forgotten": "accounts",
        "assignment": "accounts",
        "counter": "events",
        "usage": "usage",
        "refusal": "refusals",
        "shadow_counter": "shadow",
        "shadow_refusal": "shadow",
        "refusal_count": "refusals",
        "ledger_entry": "accounts",
        "hold": "events",
        "admin_audit": IN_THE_CHASSIS,
        "notice": "notices",
        "webhook": "notices",
        "console_session": "sessions",
    },
}
SQL_FUNCTIONS_OF = dict.fromkeys(
    (
        *("lock_accounts", "move_account", "find_next_moment", "begin_grants", "end_grants", "lay_spent", "lay_held"),
        *("draw_credits", "resolve_pins"),
    ),
    "accounts",
) | dict.fromkeys(("note_thresholds", "arm_thresholds"), "notices")
"""Functions in `sql/` are called by the stores of `events`, unless they stand here."""

PRIVATE_NAMES: dict[str, str] = {
    "service_chassis/application.py: os._exit": "in Python's documentation; private by its name only",
    "service_chassis/schema/load.py: schema._hooks": "marshmallow 4.4, read by tests of refused hooks",
}
"""Private attributes of libraries that are used, each with the version it was read in and what fails when it goes."""

_WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(?:ONLY\s+)?([a-z_]+)\b", re.IGNORECASE)
_STATEMENT = re.compile(r"^\s*(?:SELECT\b|INSERT INTO\b|UPDATE \w+ SET\b|DELETE FROM\b|WITH \w+ AS\b)", re.IGNORECASE)


def python_files(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def strings(path: Path) -> Iterator[str]:
    """Yield the texts in a file, docstrings and f-strings' constant parts too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_root_files_and_rooms(service: str) -> None:
    wanted = ROOT_FILES | ({"admin_app"} if service in ADMINISTERED else set())
    assert {path.stem for path in (ROOT / service).glob("*.py")} == wanted
    folders = {path.name for path in (ROOT / service).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders >= EVERY_FOLDER
    for subject in folders - {"migrations", "sql"}:
        assert ast.get_docstring(ast.parse((ROOT / service / subject / "__init__.py").read_text())), subject


@pytest.mark.parametrize("service", SERVICES)
def test_an_application_is_put_together_on_one_screen_and_without_waiting(service: str) -> None:
    tree = ast.parse((ROOT / service / "app.py").read_text())
    [create_app] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "create_app"]
    assert create_app.end_lineno is not None
    assert create_app.end_lineno - create_app.lineno < SCREEN_LINES


def test_every_table_is_written_by_the_stores_of_one_subject() -> None:
    writers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for service in SERVICES:
        tables = OWNERS[service]
        for path in python_files(service, LIBRARY):
            package, *rooms = path.relative_to(ROOT).parts
            subject = rooms[0] if package == service else LIBRARY
            for table in (table for text in strings(path) for table in _WRITES.findall(text) if table in tables):
                assert path.stem.endswith("store"), f"{name(path)} writes {table}"
                writers[service, table].add(subject)
        for path in (ROOT / service / "sql").glob("*.sql"):
            for table in set(_WRITES.findall(path.read_text())) & tables.keys():
                writers[service, table].add(SQL_FUNCTIONS_OF.get(path.stem, "events"))
    unexpected = {
        (service, table, subject)
        for (service, table), subjects in writers.items()
        for subject in subjects - {OWNERS[service][table]}
    }
    assert unexpected == WRITTEN_BY_ANOTHER.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_has_an_owner(service: str) -> None:
    texts = [path.read_text() for path in (ROOT / service / "migrations").glob("*.sql")]
    created = {table for text in texts for table in re.findall(r"^CREATE TABLE ([a-z_]+)", text, re.MULTILINE)}
    assert created == OWNERS[service].keys()


def test_the_outbox_is_one_table_in_the_library_and_in_the_activity_service() -> None:
    """It stands twice: the library's can be made again, a migration is never edited."""

    def read_table(path: str) -> str:
        text = re.sub(r"--.*", "", (ROOT / path).read_text()).replace("IF NOT EXISTS ", "")
        [table] = re.findall(r"CREATE TABLE billable_event (.*?;)", text, re.DOTALL)
        return " ".join(table.split())

    library, activity = (
        read_table(f"{LIBRARY}/tables.sql"),
        read_table("activity_service/migrations/0001_plan_plays.sql"),
    )
    assert "units >= 0" in library  # of a service that settles what it was; the activity service sells one at a time
    assert activity == library.replace("units >= 0", "units > 0")


def test_statements_stand_in_stores_only() -> None:
    for path in python_files(*SERVICES, LIBRARY):
        if not path.stem.endswith("store"):
            assert not [text for text in strings(path) if _STATEMENT.match(text)], name(path)


def test_functions_and_tables_do_not_mix() -> None:
    for service in SERVICES:
        for path in (ROOT / service / "migrations").glob("*.sql"):
            assert "CREATE FUNCTION" not in path.read_text().upper(), name(path)
        for path in (ROOT / service / "sql").glob("*.sql"):
            created = re.findall(r"CREATE (?:OR REPLACE )?FUNCTION ([a-z_]+)", path.read_text())
            assert created == [path.stem]


def test_a_long_file_says_why_it_is_long() -> None:
    for path in python_files(*MEASURED):
        lines = path.read_text().splitlines()
        assert len(lines) <= LONG_FILE_LINES or any("Long because" in line for line in lines[:12]), name(path)


def test_the_product_stays_small() -> None:
    count = 0
    for path in python_files(*PRODUCT):
        for node in ast.walk(parse(path)):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            count += isinstance(node, ast.stmt) and not is_text
    assert count <= MAX_STATEMENTS


def test_private_names_of_libraries_are_listed_with_their_version() -> None:
    used: set[str] = set()
    for path in python_files(*PRODUCT):
        tree = parse(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in PRODUCT:
                used |= {f"{name(path)}: import {alias.name}" for alias in node.names if alias.name.startswith("_")}
            if isinstance(node, ast.ClassDef):
                used |= {f"{name(path)}: self.{attribute}" for attribute in inherited_private_names(node)}
            if isinstance(node, ast.Attribute) and is_private(node.attr) and isinstance(node.value, ast.Name):
                used |= (
                    {f"{name(path)}: {node.value.id}.{node.attr}"} if node.value.id not in ("self", "cls") else set()
                )
    assert used == PRIVATE_NAMES.keys()


def inherited_private_names(node: ast.ClassDef) -> set[str]:
    """Return private attributes that a class uses and does not make itself, where it inherits from a library."""
    if not any(isinstance(base, ast.Attribute) for base in node.bases):
        return set()
    made = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    made |= {target.id for each in node.body if isinstance(each, ast.Assign) for target in each.targets
             if isinstance(target, ast.Name)}  # fmt: skip
    used: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and is_private(each.attr) and ast.unparse(each.value) == "self":
            (made if isinstance(each.ctx, ast.Store) else used).add(each.attr)
    return used - made


def is_private(attribute: str) -> bool:
    return attribute.startswith("_") and not attribute.startswith("__") and attribute not in ("_replace", "_asdict")


def test_docstrings_say_what_is_returned_in_the_word_that_people_know() -> None:
    for path in python_files(*MEASURED):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert not (ast.get_docstring(node) or "").startswith("Answer "), f"{name(path)}: {node.name}"
