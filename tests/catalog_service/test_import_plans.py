"""Plans from files and from other programs: all or none, and each fault by its place."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from catalog_service.errors import ClientNotFound, InvalidPlans
from catalog_service.plans.import_file import ImportPlans
from catalog_service.plans.plan_file import read_plan_file
from local_stack.processes import REPOSITORY
from service_chassis.errors import OperatorError
from tests.catalog_service.catalog import PLAN, Catalog, MovableClock
from tests.operator_command import run_command

CSV = """plan_id,plan_name,description,collection_id,color,associated_documents,
plan-1,One,"in two
lines",col-1,red,"[{""document_id"":""d"",""document_name"":""D""}]",
,Two,,col-1,blue,,
"""


async def test_a_csv_file_becomes_plans(catalog: Catalog, tmp_path: Path) -> None:
    token = await catalog.token()
    file = tmp_path / "plans.csv"
    file.write_text("\ufeff" + CSV)
    assert (
        await ImportPlans(catalog.serving_pool).write(
            "acme", [row.values for row in read_plan_file(file)], actor="tests"
        )
        == 2
    )
    [line] = await catalog.pool.fetch("SELECT actor, target, detail FROM admin_audit WHERE action = 'import_plans'")
    assert tuple(line) == ("tests", "acme", '{"plans": 2}')
    one, two = await catalog.plans(token)
    assert (one["plan_id"], one["description"]) == ("plan-1", "in two\nlines")
    assert one["associated_documents"] == [{"document_id": "d", "document_name": "D"}]
    assert (two["plan_name"], two["description"], two["associated_documents"]) == ("Two", "", [])


async def test_the_example_file_is_imported_as_it_stands_by_the_command(catalog: Catalog, catalog_dsn: str) -> None:
    token = await catalog.token()
    example = REPOSITORY / "docs" / "examples" / "plans.csv"
    for _ in range(2):  # plans with ids may be imported again
        done = await run_command("catalog", catalog_dsn, "plans", "import", str(example), "--client", "acme")
        assert (done.code, done.output) == (0, "imported 2 plans for acme\n"), done.trace
    plans = {plan["plan_id"]: plan for plan in await catalog.plans(token)}
    assert {plan_id: plan["plan_name"] for plan_id, plan in plans.items()} == {
        "plan-basic": "Basic Plan",
        "plan-family": "Family Plan",
    }
    assert plans["plan-basic"]["description"] == "One lesson a day, for thirty days"
    assert plans["plan-family"]["associated_documents"] == [
        {"document_id": "doc-456", "document_name": "Household Terms"}
    ]
    assert plans["plan-family"]["associated_supplemental_benefits"] == [
        {"supplemental_benefit_id": "benefit-1", "benefit_name": "Dental"}
    ]
    assert str(example.relative_to(REPOSITORY)) in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [("plans.json", "[]"), ("plans.csv", CSV.splitlines()[0] + "\n"), ("plans.csv", ""), ("plans.csv", ",,\n")],
)
async def test_a_file_without_plans_is_not_taken_for_one_that_was_imported(
    catalog_dsn: str, tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    done = await run_command("catalog", catalog_dsn, "plans", "import", str(file), "--client", "acme")
    assert (done.code, done.output) == (1, "")
    assert f"{name}: holds no plans" in done.trace


async def test_importing_again_replaces_by_id_and_keeps_when_it_was_created(catalog: Catalog) -> None:
    token = await catalog.token()
    await ImportPlans(catalog.serving_pool, catalog.clock).write("acme", [{**PLAN, "plan_id": "p"}], actor="tests")
    catalog.clock.move(minutes=1)
    await ImportPlans(catalog.serving_pool, catalog.clock).write(
        "acme", [{**PLAN, "plan_id": "p", "color": "red"}], actor="tests"
    )
    [plan] = await catalog.plans(token)
    assert (plan["color"], plan["created_at"], plan["updated_at"]) == (
        "red",
        "2030-01-02T03:04:05.678900Z",
        "2030-01-02T03:05:05.678900Z",
    )


async def test_what_get_plans_answered_can_be_imported_and_keeps_when_it_was_created(
    catalog: Catalog, tmp_path: Path
) -> None:
    token = await catalog.token()
    await ImportPlans(catalog.serving_pool, catalog.clock).write("acme", [{**PLAN, "plan_id": "p"}], actor="tests")
    [answered] = await catalog.plans(token)
    file = tmp_path / "plans.json"
    file.write_bytes(orjson.dumps([{**answered, "plan_id": "q"}]))
    catalog.clock.move(minutes=1)
    await ImportPlans(catalog.serving_pool, catalog.clock).write(
        "acme", [row.values for row in read_plan_file(file)], actor="tests"
    )
    [imported] = [plan for plan in await catalog.plans(token) if plan["plan_id"] == "q"]
    assert imported == {**answered, "plan_id": "q", "updated_at": "2030-01-02T03:05:05.678900Z"}


async def test_one_wrong_row_keeps_all_out_and_every_wrong_row_is_named(catalog: Catalog) -> None:
    token = await catalog.token()
    good = {**PLAN, "plan_id": "p"}
    rows: list[dict[str, Any]] = [good, {**PLAN, "color": 1}, good, {"plan_name": "x\x00", "color": "\ud800"}, PLAN]
    with pytest.raises(InvalidPlans) as raised:
        await ImportPlans(catalog.serving_pool).write("acme", rows, actor="tests")
    assert [index for index, _ in raised.value.faults] == [1, 2, 3]
    assert raised.value.faults[0][1] == "color: Must be a string."
    assert await catalog.plans(token) == []


async def test_plans_of_an_unknown_client_are_refused(catalog: Catalog) -> None:
    nothing: list[dict[str, Any]] = []
    for rows in ([PLAN], nothing):
        with pytest.raises(ClientNotFound):
            await ImportPlans(catalog.serving_pool).write("nobody", rows, actor="tests")


async def test_progress_is_told_up_to_the_last_of_many(catalog: Catalog, clock: MovableClock) -> None:
    await catalog.register()
    told: list[tuple[str, int]] = []
    rows = [{**PLAN, "plan_name": f"plan {number}"} for number in range(1200)]
    count = await ImportPlans(catalog.serving_pool).write(
        "acme", rows, actor="tests", report=lambda stage, done: told.append((stage, done))
    )
    assert count == 1200
    assert [done for stage, done in told if stage == "writing"] == [500, 1000, 1200]
    assert [done for stage, done in told if stage == "checking"][-1] == 1200
    assert await catalog.pool.fetchval("SELECT plans_version FROM client") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plans.txt", "", "must end in .json or .csv"),
        ("plans.json", "{", "plans.json: character 2: Must be valid JSON"),
        ("plans.json", '[\n {"plan_name": "A"\n  "color": 1}]', "plans.json: line 3, column 3: Must be valid JSON"),
        ("plans.json", "{}", "must hold an array"),
        ("plans.json", '[{"a": 1, "a": 2}]', "Must not repeat a name in an object, and repeats 'a'."),
        ("plans.csv", "plan_name,description\nx,y\n", "has no column collection_id, color"),
        ("plans.csv", CSV + "a,b,c,d,e,,,,too,many\n", "line 5: has more cells"),
        ("plans.csv", CSV + 'p,n,d,c,r,"{",\n', "line 5: associated_documents: character 2: Must be valid JSON"),
        ("plans.csv", CSV + 'a,"open\nb,c\nd,e\n', "line 5: has a quote that is not closed"),
        ("plans.csv", CSV + 'a,"b"c,d,e,f\n', "line 5: has a quote that is not closed, or text after a closed one"),
        ("plans.csv", CSV + "a,b,c,d,e,,lost\n", "line 5: has a cell in a column without a name"),
        ("plans.csv", CSV.replace("color,", "colour,"), "line 1: has the unknown column colour; did you mean color?"),
        (
            "plans.csv",
            CSV.replace("documents,\n", "documents,note\n"),
            "line 1: has the unknown column note; there are",
        ),
        ("plans.csv", "sep=;\nplan_name;descr\n", "line 2: has the unknown column descr"),
        ("plans.csv", "plan_name|color\n", "line 1: has no commas, semicolons or tabs"),
        ("plans.csv", "PLAN_NAME,x\n", "unknown column PLAN_NAME; did you mean plan_name?"),
        ("plans.csv", "Plan Name,x\n", "unknown column Plan Name; did you mean plan_name?"),
        ("plans.csv", CSV + "#REF!,n,d,c,r,,\n", "line 5: plan_id: is #REF!, which a spreadsheet writes"),
        ("plans.csv", CSV + "p,#NAME?,d,c,r,,\n", "line 5: plan_name: is #NAME\\?, which a spreadsheet"),
        ("plans.csv", CSV + "1.23E+12,n,d,c,r,,\n", "line 5: plan_id: is 1.23E\\+12, which a spreadsheet"),
        ("plans.csv", CSV + 'p,n,d,"1,2E+15",r,,\n', "line 5: collection_id: is 1,2E\\+15, which a spreadsheet"),
        (
            "plans.csv",
            "plan_name,color,description,collection_id,color\na,b,c,d,e\n",
            "line 1: names column color twice",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_by_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(OperatorError, match=message):
        read_plan_file(file)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    for name in ("plans.csv", "plans.json"):
        (tmp_path / name).write_bytes('[{"plan_name": "Tür"}]'.encode("latin-1"))
        with pytest.raises(OperatorError, match="UTF-8"):
            read_plan_file(tmp_path / name)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_read_as_spreadsheets_write_it(tmp_path: Path, end: str, delimiter: str, mark: bytes) -> None:
    lines = ["plan_name,description,collection_id,color,", "a,b,c,d,", ",,,,", "e,,g,h,", " ,  ,,"]
    text = end.join(line.replace(",", delimiter) for line in lines)
    (tmp_path / "plans.csv").write_bytes(mark + text.encode())
    rows = read_plan_file(tmp_path / "plans.csv")
    assert [(row.place, row.values["plan_name"]) for row in rows] == [("line 2", "a"), ("line 4", "e")]
    (tmp_path / "plans.json").write_bytes(mark + b'[{"plan_name": "a"}]')
    assert [row.values for row in read_plan_file(tmp_path / "plans.json")] == [{"plan_name": "a"}]


@pytest.mark.parametrize(
    "text",
    [
        "\n\n;;;\nplan_name;description;collection_id;color\na;b;c;d\n",
        "\r\r\ufeffplan_name;\u200bdescription;collection_id;color\u00a0\ra;b;c;d\r",
        "plan_name;description;collection_id;color\n\na;b;c;d; ;\n",
    ],
)
def test_blank_rows_blank_cells_and_invisible_marks_are_no_part_of_a_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "plans.csv").write_bytes(text.encode())
    [row] = read_plan_file(tmp_path / "plans.csv")
    assert row.place == f"line {text.replace(chr(13), chr(10)).rstrip().count(chr(10)) + 1}"
    assert row.values == {"plan_name": "a", "description": "b", "collection_id": "c", "color": "d"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [CSV, CSV.replace("One", "Ü")])
def test_a_file_in_utf_16_is_named_as_such(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "plans.csv").write_bytes(text.encode(encoding))
    with pytest.raises(OperatorError, match="must be UTF-8, and is UTF-16: save it as"):
        read_plan_file(tmp_path / "plans.csv")


@pytest.mark.parametrize("first", ["sep=;", "sep=;;;;", '"sep=;"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_line_of_excel_is_obeyed_and_counted(tmp_path: Path, first: str, end: str) -> None:
    lines = [first, "plan_name;description;collection_id;color", "A, B;;c;red", ""]
    (tmp_path / "plans.csv").write_bytes(end.join(lines).encode())
    [row] = read_plan_file(tmp_path / "plans.csv")
    assert (row.place, row.values["plan_name"]) == ("line 3", "A, B")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**PLAN, "colour": "red"}, "colour: Unknown field. Did you mean color?"),
        ({**PLAN, "whatever": 1}, "whatever: Unknown field."),
        (
            {**PLAN, "associated_documents": [{"document_id": "d", "document_name": "D", "document_nam": "E"}]},
            "associated_documents.0.document_nam: Unknown field. Did you mean document_name?",
        ),
        ("a plan", "Must be a JSON object."),
    ],
)
async def test_what_would_be_lost_of_a_file_is_refused_by_name(catalog: Catalog, row: Any, fault: str) -> None:
    await catalog.register()
    with pytest.raises(InvalidPlans) as refused:
        await ImportPlans(catalog.serving_pool).write("acme", [row], actor="tests")
    assert refused.value.faults == ((0, fault),)


async def test_names_that_look_alike_are_the_same_name(catalog: Catalog) -> None:
    await catalog.register()
    await ImportPlans(catalog.serving_pool).write("acme", [{**PLAN, "plan_name": "A b"}], actor="tests")
    for again in ("A b ", "A  b"):
        with pytest.raises(InvalidPlans, match="plan_name: Is there already"):
            await ImportPlans(catalog.serving_pool).write("acme", [{**PLAN, "plan_name": again}], actor="tests")
