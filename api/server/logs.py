"""The log on stderr: lines for people, or JSON for collectors; configured once in each process.

No body that a client sent and no secret gets into the log. Code logs names, counts and times, and
the formatters leave out the values that a database quotes when it refuses them.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Final

from api.core.masking import masked
from api.settings import Settings

# The attributes that every log record has. All others came with `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime",
    "message",
    "taskName",  # since Python 3.12
    "color_message",  # uvicorn's message once more, with colours
}


def configure(settings: Settings) -> None:
    """Send everything that this process logs to stderr, in the format that was asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # The “info” of libraries matters only to somebody who looks for a fault.
    others = level if level == logging.DEBUG else max(level, logging.WARNING)
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.getLogger("claim_records").setLevel(level)
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """One line for each event, for people; an exception follows in lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger, message and the extras."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = (
            f"{_time(record)} {record.levelname.lower()} {record.name}: "
            f"{record.getMessage()}{extras}"
        )
        return masked("\n".join([_on_one_line(line), *_failure(record)]))


class JsonLines(logging.Formatter):
    """One JSON object for each event."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the event as JSON in ASCII, which every terminal and collector reads alike."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if failure := list(_failure(record)):
            event["exception"] = "\n".join(failure)
        return masked(json.dumps(event, default=str))


def _time(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _on_one_line(text: str) -> str:
    """Escape characters that start a line or control a terminal: paths come from clients."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _failure(record: logging.LogRecord) -> Iterator[str]:
    """Write each exception with its place in the code, the cause first."""
    error = record.exc_info[1] if record.exc_info else None
    for each in _with_causes(error):
        yield from "".join(traceback.format_tb(each.__traceback__)).splitlines()
        yield _on_one_line(
            f"{type(each).__module__}.{type(each).__qualname__}: {_message_of(each)}"
        )


def _with_causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _message_of(error: BaseException) -> str:
    """Give an exception's message, without the values that Postgres quotes in its messages."""
    import asyncpg  # noqa: PLC0415 - commands that need no database do not wait for it

    if not isinstance(error, asyncpg.PostgresError):
        return str(error)
    where = (error.schema_name, error.table_name, error.column_name, error.constraint_name)
    place = ".".join(name for name in where if name)
    # The messages of classes 22 and 23 (data, integrity) quote values; every `detail` may.
    message = "" if (error.sqlstate or "")[:2] in {"22", "23"} else error.args[0]
    return " ".join(filter(None, (f"SQLSTATE {error.sqlstate}", place, message)))
