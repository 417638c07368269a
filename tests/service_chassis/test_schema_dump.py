"""The compiled dump and the schema's own agree, so that the schema is the only definition."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from marshmallow import Schema, fields

from service_chassis.schema.dump import compile_dump, encode_json


class PartSchema(Schema):
    part_id = fields.String()


class ThingSchema(Schema):
    thing_id = fields.UUID(data_key="thingId")
    name = fields.String(attribute="title")
    size = fields.Integer()
    ready = fields.Boolean()
    made_at = fields.DateTime(data_key="madeAt")
    parts = fields.List(fields.Nested(PartSchema))
    secret = fields.String(load_only=True)


@dataclass
class Thing:
    thing_id: UUID = field(default_factory=lambda: UUID(int=7))
    title: str | None = "é"
    size: int = 3
    ready: bool = True
    made_at: datetime | None = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    parts: list[dict[str, str]] = field(default_factory=lambda: [{"part_id": "p"}])
    secret: str = "s"


@pytest.mark.parametrize("thing", [Thing(), Thing(title=None, made_at=None, parts=[], size=-1)])
def test_the_compiled_dump_is_what_the_schema_dumps(thing: Thing) -> None:
    compiled = orjson.loads(encode_json(compile_dump(ThingSchema())(thing)))
    dumped = ThingSchema().dump(thing)
    if dumped["madeAt"]:
        dumped["madeAt"] = dumped["madeAt"].replace("+00:00", "Z")
    assert compiled == dumped
    assert list(compiled) == list(dumped)


def test_a_schema_of_one_field_is_dumped_too() -> None:
    assert compile_dump(ThingSchema(only=["name"]))(Thing()) == {"name": "é"}


def test_a_field_that_must_be_computed_is_refused_when_compiled() -> None:
    class Computed(Schema):
        total = fields.Function(len)

    with pytest.raises(TypeError, match=r"Computed\.total: Function"):
        compile_dump(Computed())


def test_moments_are_written_in_utc_and_ids_as_text() -> None:
    moment = datetime(2030, 1, 2, 5, tzinfo=timezone(timedelta(hours=2)))
    driver_uuid: Any = asyncpg.pgproto.pgproto.UUID("00000000-0000-0000-0000-000000000007")
    assert encode_json([moment.astimezone(UTC), driver_uuid]) == (
        b'["2030-01-02T03:00:00Z","00000000-0000-0000-0000-000000000007"]'
    )
    with pytest.raises(TypeError):
        encode_json(object())
