"""What of one OpenAPI document does not hold any more in a later one, as those see it who call the API.

A request may be asked for less and an answer may hold more; the other way round breaks somebody. No tool that
installs from PyPI or npm compares documents of version 3.1, so this does, for what our documents are made of.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.openapi.documents import Document, list_operations, list_responses

Node = dict[str, Any]

_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS = ("minimum", "minLength", "minItems", "minProperties")
_ALIKE = ("pattern", "format", "const", "if", "then", "else", "not")


@dataclass(frozen=True)
class Change:
    """One thing that does not hold any more: in which call, of what, and how."""

    operation: str
    """As a changelog names it: "POST /api/plan-plays"."""
    name: str
    """What a changelog must name beside it: a field, a parameter, a status; "" for the call itself."""
    text: str

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.operation}:", self.name, self.text)))


def find_breaking_changes(old: Document, new: Document) -> list[Change]:
    """Return everything in `old` that callers may rely on and that `new` does not say."""
    now = {(method, path): operation for method, path, operation in list_operations(new)}
    found: list[Change] = []
    for method, path, operation in list_operations(old):
        name = f"{method.upper()} {path}"
        if (method, path) in now:
            found += _Comparison(old, new, name).compare(operation, now[method, path])
        else:
            found.append(Change(name, "", "is gone"))
    return found


@dataclass(frozen=True)
class _Comparison:
    old: Document
    new: Document
    operation: str
    is_request: bool = True
    seen: frozenset[tuple[str, str]] = frozenset()

    def compare(self, old: Node, new: Node) -> Iterator[Change]:
        if old["operationId"] != new["operationId"]:
            yield self._change("operationId", f"is {new['operationId']} now: generated clients call it by this name")
        if new["security"] and not old["security"]:
            yield self._change("security", "is asked for now")
        yield from self._compare_parameters(old, new)
        yield from self._compare_bodies(old.get("requestBody"), new.get("requestBody"))
        responses = list_responses(self.new, new)
        for status, response in list_responses(self.old, old).items():
            if status not in responses:
                yield self._change(status, "is not answered any more")
                continue
            later = responses[status]
            for name, header in response["headers"].items():
                if header.get("required") and not later["headers"].get(name, {}).get("required"):
                    yield self._change(name, f"is not always sent with {status} any more")
            yield from replace(self, is_request=False)._compare_content(status, response["content"], later["content"])

    def _change(self, name: str, text: str) -> Change:
        return Change(self.operation, name, text)

    def _compare_parameters(self, old: Node, new: Node) -> Iterator[Change]:
        before = {parameter["name"]: parameter for parameter in self._list_parameters(self.old, old)}
        after = {parameter["name"]: parameter for parameter in self._list_parameters(self.new, new)}
        for name, parameter in before.items():
            if name not in after:
                yield self._change(name, "is not a parameter any more")
            else:
                yield from self._compare_schemas(name, parameter["schema"], after[name]["schema"])
        for name, parameter in after.items():
            if parameter.get("required") and not before.get(name, {}).get("required"):
                yield self._change(name, "is a required parameter now")

    @staticmethod
    def _list_parameters(document: Document, operation: Node) -> Iterator[Node]:
        for parameter in operation["parameters"]:
            yield _resolve(document, parameter)

    def _compare_bodies(self, old: Node | None, new: Node | None) -> Iterator[Change]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield self._change("body", "is required now")
        if old is not None and new is None:
            yield self._change("body", "is not read any more")
        if old is not None and new is not None:
            yield from self._compare_content("body", old["content"], new["content"])

    def _compare_content(self, name: str, old: Node, new: Node) -> Iterator[Change]:
        for content_type, media in old.items():
            if content_type not in new:
                yield self._change(name, f"is not {content_type} any more")
            else:
                yield from self._compare_schemas(name, media["schema"], new[content_type]["schema"])

    def _compare_schemas(self, name: str, old: Node, new: Node) -> Iterator[Change]:
        step = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and step in self.seen:
            return
        inner = replace(self, seen=self.seen | {step})
        old, new = _resolve(self.old, old), _resolve(self.new, new)
        yield from inner._compare_values(name, old, new)
        yield from inner._compare_members(name, old, new)
        for keyword in ("items", "propertyNames", "additionalProperties"):
            before, after = old.get(keyword), new.get(keyword)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from inner._compare_schemas(name, before, after)
        before, after = old.get("anyOf", []), new.get("anyOf", [])
        if len(before) != len(after):
            yield self._change(name, "is one of other kinds now")
        for one, other in zip(before, after, strict=False):
            yield from inner._compare_schemas(name, one, other)

    def _compare_values(self, name: str, old: Node, new: Node) -> Iterator[Change]:
        wider, narrower = (old, new) if self.is_request else (new, old)
        for keyword in ("type", "enum"):
            may, must = _as_set(wider.get(keyword)), _as_set(narrower.get(keyword))
            if must is not None and (may is None or not may <= must):
                yield self._change(
                    name, f"has another {keyword} now: {new.get(keyword)} instead of {old.get(keyword)}"
                )
        if not self.is_request:
            return  # answers within other bounds are still the same to those who read them
        for keyword in _ALIKE:
            if keyword in new and new[keyword] != old.get(keyword):
                yield self._change(name, f"must be of another {keyword} now")
        for keywords, is_narrower in ((_UPPER_BOUNDS, int.__lt__), (_LOWER_BOUNDS, int.__gt__)):
            for keyword in keywords:
                if keyword in new and (keyword not in old or is_narrower(new[keyword], old[keyword])):
                    yield self._change(name, f"has a narrower {keyword} now: {new[keyword]}")

    def _compare_members(self, name: str, old: Node, new: Node) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for member, schema in before.items():
            if member in after:
                yield from self._compare_schemas(member, schema, after[member])
            elif not self.is_request or new.get("additionalProperties") is False:
                yield self._change(member, "is not there any more")
        required, still = set(old.get("required", ())), set(new.get("required", ()))
        for member in sorted(still - required if self.is_request else required - still):
            if self.is_request:
                yield self._change(member, "is required now")
            elif member in after:
                yield self._change(member, "is not always there any more")
        if self.is_request and new.get("additionalProperties") is False and "additionalProperties" not in old:
            yield self._change(name, "may not hold unknown fields any more")


def _resolve(document: Document, node: Node) -> Node:
    while "$ref" in node:
        _, *steps = node["$ref"].split("/")
        node = document
        for step in steps:
            node = node[step]
    return node


def _as_set(value: Any) -> set[Any] | None:
    if value is None:
        return None
    return set(value) if isinstance(value, list) else {value}
