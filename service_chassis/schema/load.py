"""Load documents with a marshmallow schema's own definition, without its per-object cost.

For the calls that come most often. The schema's fields and validators are compiled to a few
checks; a document that passes them is loaded as `Schema.load` would, and one that does not, for whatever
reason, is handed to `Schema.load` itself, which finds the words. The schema stays the only definition.
"""

from collections.abc import Callable
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, missing, validate

from service_chassis.schema.fields import BoundedList


def compile_load(schema: Schema) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a document to what `schema.load` would return. It raises ValidationError likewise.

    Plain strings, strict integers, and lists of those or of anything, are compiled; what else there is goes through
    its field's own `deserialize`, when it is there. Raises TypeError for a schema that takes unknown fields in, and
    for one with hooks (`validates_schema`, `validates`, `post_load` and their kin), which would not be run.
    """
    if any(schema._hooks.values()):  # marshmallow's register of decorated methods, which it publishes no other way
        raise TypeError(f"{type(schema).__name__} has hooks, and a compiled schema runs none")
    if schema.unknown not in (RAISE, EXCLUDE):
        raise TypeError(f"{type(schema).__name__} must refuse unknown fields, or leave them out")
    refuses_unknown = schema.unknown == RAISE
    compiled = [_CompiledField(name, field) for name, field in schema.load_fields.items()]

    def load(document: Any) -> dict[str, Any]:
        loaded = _load_plain(compiled, document, refuses_unknown) if type(document) is dict else None
        return loaded if loaded is not None else dict(schema.load(document))

    return load


def _load_plain(
    compiled: list["_CompiledField"], document: dict[str, Any], refuses_unknown: bool
) -> dict[str, Any] | None:
    """Load `document` if nothing about it needs a second look, else return None."""
    loaded: dict[str, Any] = {}
    used = 0
    for field in compiled:
        value = document.get(field.key, _ABSENT)
        if value is _ABSENT:
            if field.required:
                return None
            if field.default is not missing:
                loaded[field.attribute] = field.default
            continue
        used += 1
        if field.kind is None:
            try:
                value = field.deserialize(value)
            except ValidationError:
                return None
        elif type(value) is field.kind:
            for is_valid in field.checks:
                if not is_valid(value):
                    return None
            if field.inner is not None and not _all_plain(field.inner, value):
                return None
        elif value is not None or not field.allow_none:
            return None
        loaded[field.attribute] = value
    return loaded if used == len(document) or not refuses_unknown else None


def _all_plain(inner: "_CompiledField", values: Any) -> bool:
    """Tell whether each of a list's values is one that the inner field loads as it is."""
    kind = inner.kind
    for value in values:
        if type(value) is not kind:
            return False
        for is_valid in inner.checks:
            if not is_valid(value):
                return False
    return True


_ABSENT = object()
_KINDS: dict[type, type] = {fields.String: str, fields.Integer: int, fields.List: list, BoundedList: list}


class _CompiledField:
    __slots__ = ("allow_none", "attribute", "checks", "default", "deserialize", "inner", "key", "kind", "required")

    def __init__(self, name: str, field: fields.Field[Any]) -> None:
        kind = _KINDS.get(type(field))
        inner: _CompiledField | None = None
        if isinstance(field, fields.Integer) and not field.strict:
            kind = None
        elif isinstance(field, fields.List) and not (type(field.inner) is fields.Raw and field.inner.allow_none):
            inner = _CompiledField(name, field.inner)
            if inner.kind is None or inner.kind is list:
                kind = None
        if not field.required and callable(field.load_default):
            raise TypeError(f"{name}: needs a plain load_default")
        self.key = field.data_key or name
        self.attribute = field.attribute or name
        self.kind: type | None = kind
        self.inner: _CompiledField | None = inner
        self.deserialize = field.deserialize
        self.required = field.required
        self.default = field.load_default
        self.allow_none = field.allow_none
        self.checks = [_compile_validator(validator) for validator in field.validators]


def _compile_validator(validator: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Return whether a value passes `validator`, without an error's cost or its words."""
    if type(validator) is validate.Length:
        return _compile_length(validator)
    if type(validator) is validate.Regexp:
        match = validator.regex.match
        return lambda value: match(value) is not None

    def passes(value: Any) -> bool:
        try:
            validator(value)
        except ValidationError:
            return False
        return True

    return passes


def _compile_length(length: validate.Length) -> Callable[[Any], bool]:
    least, most = (length.min, length.max) if length.equal is None else (length.equal, length.equal)
    if most is None:
        return lambda value: len(value) >= (least or 0)
    return lambda value: (least or 0) <= len(value) <= most
