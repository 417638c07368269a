"""Logs as one JSON object a line, on standard output: ours through structlog, libraries' through the same shape."""

import logging
import sys
from typing import Any, BinaryIO

import orjson
import structlog


def configure_logging(level: str, service: str, stream: BinaryIO | None = None) -> None:
    """Send all logs as JSON, from `level` ("debug" to "error") up, each naming `service`, to `stream`.

    That is standard output unless told otherwise.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]

    def name_service(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_service,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(stream or sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(level=max(threshold, logging.WARNING))]
    root.setLevel(max(threshold, logging.WARNING))


def _dumps(value: object, **_: object) -> bytes:
    return orjson.dumps(value, default=str)


class _LibraryHandler(logging.Handler):
    """Pass a library's log record on without its stack trace: the kind of the exception says enough."""

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log = structlog.get_logger(record.name)
        # The format string, not the message: arguments may hold a person's data or a secret.
        log.log(record.levelno, "library", logger=record.name, text=str(record.msg)[:300], exception=exception)
