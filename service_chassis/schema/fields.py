"""A list whose length is looked at before its elements are."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate


class ShortList(fields.List[Any]):
    """A marshmallow list that is refused for its length alone, at once.

    marshmallow loads every element, finds words for every wrong one, and counts them last: half a second, and an
    answer of megabytes, for a body of 64 KB.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            for validator in self.validators:
                if isinstance(validator, validate.Length):
                    validator(value)
        return super()._deserialize(value, attr, data, **kwargs)
