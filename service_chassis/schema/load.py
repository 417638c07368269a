"""Load documents with a marshmallow schema's own definition, without its per-object cost.

For the calls that come most often. The schema's fields and validators are compiled to a few
checks; a document that passes them is loaded as `Schema.load` would, and one that does not, for whatever
reason, is handed to `Schema.load` itself, which finds the words. The schema stays the only definition.
"""

from collections.abc import Callable, Sequence
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, missing, validate

from service_chassis.schema.fields import BoundedList, require_storable


def compile_load(schema: Schema) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a document to what `schema.load` would return. It raises ValidationError likewise.

    Plain strings, strict integers, and lists of those or of anything, are compiled; what else there is goes through
    its field's own `deserialize`, when it is there. Raises TypeError for a schema that takes unknown fields in, and
    for one with hooks (`validates_schema`, `validates`, `post_load` and their kin), which would not be run. What no
    body of JSON can hold (`require_storable`) is not looked for: the documents come from one.
    """
    if any(schema._hooks.values()):  # marshmallow's register of decorated methods, which it publishes no other way
        raise TypeError(f"{type(schema).__name__} has hooks, and a compiled schema runs none")
    if schema.unknown not in (RAISE, EXCLUDE):
        raise TypeError(f"{type(schema).__name__} must refuse unknown fields, or leave them out")
    refuses_unknown = schema.unknown == RAISE
    compiled = [_CompiledField(name, field) for name, field in schema.load_fields.items()]
    by_key = {field.key: field for field in compiled}
    required = sum(field.required for field in compiled)
    defaults = {field.attribute: field.default for field in compiled if field.default is not missing}

    def load_plain(document: dict[str, Any]) -> dict[str, Any] | None:
        """Load `document` if nothing about it needs a second look, else return None."""
        loaded = defaults.copy()
        still_required = required
        for key, value in document.items():
            field = by_key.get(key)
            if field is None:
                if refuses_unknown:
                    return None
                continue
            still_required -= field.required
            if field.kind is None:
                try:
                    value = field.deserialize(value)
                except ValidationError:
                    return None
            elif type(value) is field.kind:
                if not field.is_plain(value):
                    return None
            elif value is not None or not field.allow_none:
                return None
            loaded[field.attribute] = value
        return loaded if not still_required else None

    def load(document: Any) -> dict[str, Any]:
        loaded = load_plain(document) if type(document) is dict else None
        return loaded if loaded is not None else dict(schema.load(document))

    return load


_KINDS: dict[type, type] = {fields.String: str, fields.Integer: int, fields.List: list, BoundedList: list}


class _CompiledField:
    """How one field is loaded: `is_plain` tells whether a value of its `kind` is one that it loads as it is."""

    __slots__ = ("allow_none", "attribute", "default", "deserialize", "is_plain", "key", "kind", "required")

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
        self.deserialize = field.deserialize
        self.required = field.required
        self.default = field.load_default
        self.allow_none = field.allow_none
        self.is_plain = _compile_checks(field.validators, inner)


def _compile_checks(
    validators: Sequence[Callable[[Any], Any]], inner: _CompiledField | None
) -> Callable[[Any], bool]:
    """Return whether a value passes all `validators`, and its elements, if it has any, those of `inner`."""
    checks = [_compile_validator(each) for each in validators if each is not require_storable]
    if inner is not None:
        kind, is_plain = inner.kind, inner.is_plain
        checks.append(lambda values: all(type(value) is kind and is_plain(value) for value in values))
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) and second(value)
    return lambda value: all(is_valid(value) for is_valid in checks)


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
    least = least or 0
    if most is None:
        return lambda value: len(value) >= least
    return lambda value: least <= len(value) <= most
