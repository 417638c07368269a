"""Read a request's body: strict JSON, within a size, held against a schema.

RFC 8259 leaves much to the reader (duplicate names, numbers of any size, any nesting). Two readers that
choose differently are how one request comes to mean two things, so everything ambiguous is refused here.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError

from service_chassis.errors import FieldError, HttpFault, InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from service_chassis.http.bounds import read_within_bound

PUBLIC_BODY_LIMIT_BYTES = 64 * 1024
"""The largest body that a public call accepts."""

MAX_DEPTH = 32
"""The deepest nesting that is read; the contracts need 3."""

_LONG_INTEGER = re.compile(rb"[1-9]\d{18}")
_INT64 = range(-(2**63), 2**63)

_MOST_DETAILS = 20
"""Wrong fields named in one answer: a body can hold thousands, and whoever mends twenty has seen what is wrong."""

_LONGEST_QUOTE = 64
"""Characters of a caller's own name that an error repeats."""


class _Refused(ValueError):
    """Valid for the standard library's reader, not for ours; the text says why."""


CompiledLoad = Callable[[Any], Any]
"""What `schema.load.compile_load` returns."""


async def read_body(request: web.Request, schema: Schema | CompiledLoad, *, optional: bool = False) -> Any:
    """Read the body and load it with `schema`.

    With `optional`, no body at all reads as `{}`. Raises InvalidRequest, UnsupportedMediaType or
    PayloadTooLarge.
    """
    raw = await read_bytes(request)
    if optional and not raw:
        document: object = {}
    else:
        require_json(request)
        document = parse_json(raw)
    return load(schema, document)


async def read_bytes(request: web.Request) -> bytes:
    """Read the whole body, up to the application's `client_max_size` and within its bound on time.

    Raises PayloadTooLarge, UnsupportedMediaType for an encoded one, HttpFault 408 for a slow one, and
    InvalidRequest for one that is not framed as HTTP says.
    """
    headers = request.headers
    if "Content-Encoding" in headers and any(
        encoding.strip().lower() != "identity" for encoding in headers.getall("Content-Encoding")
    ):
        raise UnsupportedMediaType("Content-Encoding is not supported; send the body as it is")
    if "Transfer-Encoding" in headers and headers["Transfer-Encoding"].strip().lower() != "chunked":
        raise UnsupportedMediaType("Transfer-Encoding must be chunked alone; send the body as it is")
    if (request.content_length or 0) > request.client_max_size:
        raise PayloadTooLarge()
    try:
        return await read_within_bound(request)
    except TimeoutError:
        raise HttpFault(408, "Request body took too long") from None
    except (web.RequestPayloadError, ConnectionError):
        # Broken chunks, or an end before the announced length: whatever was meant, this is not it.
        raise InvalidRequest.field("body", "Must arrive whole, in the framing that its headers announce.") from None


def require_json(request: web.Request) -> None:
    """Raise UnsupportedMediaType unless the request says its body is JSON, in UTF-8."""
    if request.headers.get("Content-Type") == "application/json":  # as nearly everybody says it
        return
    if request.content_type != "application/json":
        raise UnsupportedMediaType()
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("The charset of Content-Type must be utf-8")


def load(schema: Schema | CompiledLoad, document: object) -> Any:
    """Load `document` with `schema`. Raises InvalidRequest with one detail per wrong field."""
    if not isinstance(document, dict):
        raise InvalidRequest.field("body", "Must be a JSON object.")
    try:
        return schema.load(document) if isinstance(schema, Schema) else schema(document)
    except ValidationError as error:
        raise InvalidRequest(details=list_faults(error.messages_dict)[:_MOST_DETAILS]) from None


def list_faults(messages: Any, path: str = "") -> list[FieldError]:
    """Return what marshmallow says is wrong, a detail for each field by its dotted path."""
    if isinstance(messages, list):
        return [FieldError(path or "body", " ".join(str(message) for message in messages))]
    found: list[FieldError] = []
    for key, nested in messages.items():
        part = "" if key == "_schema" else str(key)
        found += list_faults(nested, ".".join(filter(None, (path, part))))
    return found


def parse_json(raw: bytes) -> Any:
    """Parse a JSON text strictly. Raises InvalidRequest naming `body` and the reason.

    Refused: anything but UTF-8, NaN and infinities, lone surrogates, NUL, control characters in strings,
    duplicate names, integers outside 64 bits, numbers beyond a double, nesting beyond MAX_DEPTH.
    """
    try:
        # orjson refuses bad UTF-8, NaN, lone surrogates, raw control characters, numbers beyond a double and
        # depths over 1024, but takes the last of duplicate names and rounds long integers: what may hold those is
        # read again by a slower reader that finds them.
        document = orjson.loads(raw)
        has_long_integers = _LONG_INTEGER.search(raw) is not None
        if has_long_integers or not _is_written_so(document, raw):
            decoder = _DECODER_OF_LONG_INTEGERS if has_long_integers else _DECODER
            document = decoder.decode(raw.decode())
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH or b"\\u0000" in raw:
            _check_values(document)
    except _Refused as error:
        raise InvalidRequest.field("body", str(error)) from None
    except (ValueError, RecursionError):
        raise InvalidRequest.field("body", "Must be valid JSON in UTF-8.") from None
    return document


def _is_written_so(document: Any, raw: bytes) -> bool:
    """Tell whether `raw` is how orjson writes `document`: then no name was repeated, or it would be shorter."""
    try:
        return orjson.dumps(document) == raw
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return False


def _distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _Refused(f"Must not repeat a name in an object, and repeats {repeated[:_LONGEST_QUOTE]!r}.")
    return names


def _int64(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INT64:
        raise _Refused("Must not hold integers outside 64 bits.")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"Must not hold {name}.")


# Made once: a decoder takes longer to make than to read a small body.
_DECODER = json.JSONDecoder(object_pairs_hook=_distinct_names, parse_constant=_no_constant)
_DECODER_OF_LONG_INTEGERS = json.JSONDecoder(
    object_pairs_hook=_distinct_names, parse_int=_int64, parse_constant=_no_constant
)


def _check_values(document: Any) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if "\x00" in value:
                    raise _Refused("Must not hold NUL characters.")
            elif isinstance(value, dict | list):
                if depth > MAX_DEPTH:
                    raise _Refused(f"Must not be nested deeper than {MAX_DEPTH} levels.")
                deeper += value
                deeper += value.values() if isinstance(value, dict) else ()
        level = deeper
