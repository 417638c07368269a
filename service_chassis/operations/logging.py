"""Logs as one JSON object a line, on standard output: ours through structlog, libraries' through the same shape."""

import asyncio
import atexit
import errno
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

import orjson
import structlog

log_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default={})  # noqa: B039 - nobody changes it
"""What every log line of the present context carries: of the request, its id, its trace and who calls."""

_PROJECT_ROOT = str(Path(__file__).resolve().parents[2])
_PLUMBING = (
    "database/pool.py",
    "database/session.py",
    "service_chassis/batching.py",
    "http/error_rendering.py",
    "http/bounds.py",
)
"""Where nearly every fault passes through."""
_TOLD_FRAMES = 3
_log = structlog.get_logger(__name__)


class _Lines:
    """Where lines go. Those about requests gather until the event loop's next turn, and go out in one write.

    What cannot be written, to a full disk or for a reader that went away, is lost: nobody goes unserved for it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []

    def write(self, line: bytes) -> None:
        self._waiting.append(line)
        self.flush()

    # What structlog calls for a finished line, by its level.
    msg = debug = info = warning = error = critical = log = fatal = exception = failure = err = warn = write

    def write_soon(self, line: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(line)

    def flush(self) -> None:
        if self._waiting:
            lines, self._waiting = self._waiting, []
            with suppress(OSError):
                self._stream.write(b"\n".join(lines) + b"\n")
                self._stream.flush()

    def close(self) -> None:
        self.flush()
        drop_unwritten(self._stream)


def drop_unwritten(stream: IO[Any]) -> None:
    """Flush `stream`, and let go of what cannot be written.

    Python would try again at its end, and make a status and a traceback of it.
    """
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_access: _Lines | None = None
"""Where lines about requests go; None where they are not wanted."""
_source: dict[str, str] = {}
"""What every line of this process carries: its service and, where that has several, which of the workers it is."""


def configure_logging(level: str, service: str, stream: BinaryIO | None = None) -> None:
    """Send all logs as JSON, from `level` ("debug" to "error") up, each naming `service`, to `stream`.

    That is standard output unless told otherwise.
    """
    global _access
    threshold = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(stream or sys.stdout.buffer)
    atexit.register(lines.close)
    _access = lines if threshold <= logging.INFO else None
    _source["service"] = service
    structlog.configure(
        processors=[
            _add_log_fields,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_source,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(level=max(threshold, logging.WARNING))]
    root.setLevel(max(threshold, logging.WARNING))


def name_worker(name: str) -> None:
    """Have every line from now on say which of its service's processes it is from."""
    _source["worker"] = name


def _add_source(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**event, **_source}


def _add_log_fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**log_fields.get(), **event}


def log_access(fields: Mapping[str, object]) -> None:
    """Log a line about a request, of level info, in the shape of all others.

    Not through structlog, which would take as long as the rest of the frame around a request. Must run in an event
    loop: what a killed process had not written yet is the lines of the loop's present turn.
    """
    if _access is not None:
        document = {**fields, "level": "info", "timestamp": datetime.now(UTC), **_source}
        _access.write_soon(orjson.dumps(document, option=orjson.OPT_UTC_Z))


def _dumps(value: object, **_: object) -> bytes:
    return orjson.dumps(value, default=str)


class _LibraryHandler(logging.Handler):
    """Pass a library's log record on without its stack trace: the kind of the exception says enough."""

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log = structlog.get_logger(record.name)
        # The format string, not the message: arguments may hold a person's data or a secret.
        log.log(record.levelno, "library", logger=record.name, text=str(record.msg)[:300], exception=exception)


def log_fault(event: str, error: BaseException, **fields: object) -> None:
    """Log a fault as its kinds and its place in our code, the cause last; its text may quote a person."""
    _log.error(event, fault=" < ".join(list_kinds(error)), at=_place(error), **fields)


def list_kinds(error: BaseException) -> list[str]:
    """Return the names of the kinds of an error and of up to four causes, the cause last."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 5:
        kinds.append(_name_kind(cause))
        cause = cause.__cause__ or cause.__context__
    return kinds


def _name_kind(error: BaseException) -> str:
    """Return the name of an error's class; of an OSError that has none of its own, such as that of a process without
    file descriptors left, also its number's name."""
    number = errno.errorcode.get(error.errno or 0) if type(error) is OSError else None
    return type(error).__name__ if number is None else f"OSError {number}"


def _place(error: BaseException) -> str:
    """Name the innermost lines of this project that the error passed through, the innermost first.

    Those of the chassis's plumbing alone would be the same for nearly all faults.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_PROJECT_ROOT) and ".venv" not in frame.filename]
    told = [frame for frame in own if not frame.filename.endswith(_PLUMBING)][-_TOLD_FRAMES:] or own[-1:]
    places = [
        f"{Path(each.filename).relative_to(_PROJECT_ROOT)}:{each.lineno} {each.name}" for each in reversed(told)
    ]
    return " < ".join(places) or "outside"
