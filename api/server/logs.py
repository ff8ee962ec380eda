"""The log: lines to read, or JSON to collect, on stderr; configured once in each process.

Nothing that a client sent as a body gets here, and no secret: who logs, logs names, counts and
times, and what a database says of the values it refused is left out.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Final

from api.settings import Settings

# What every record has; the rest is what `extra` brought.
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
    # What libraries find worth an “info” matters to those who look for a fault.
    others = level if level == logging.DEBUG else max(level, logging.WARNING)
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.getLogger("claim_records").setLevel(level)
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """One line for each event, for people; what failed is told in the lines below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger, message and the extras."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = (
            f"{_time(record)} {record.levelname.lower()} {record.name}: "
            f"{record.getMessage()}{extras}"
        )
        return "\n".join([_on_one_line(line), *_failure(record)])


class JsonLines(logging.Formatter):
    """One JSON object for each event."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the event as JSON in ASCII, which no terminal or collector can misread."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if failure := list(_failure(record)):
            event["exception"] = "\n".join(failure)
        return json.dumps(event, default=str)


def _time(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _on_one_line(text: str) -> str:
    """Escape what would start a line or steer a terminal: paths come from clients."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _failure(record: logging.LogRecord) -> Iterator[str]:
    """Tell what failed: each exception with its place in the code, the cause first."""
    error = record.exc_info[1] if record.exc_info else None
    for each in _with_causes(error):
        yield from "".join(traceback.format_tb(each.__traceback__)).splitlines()
        yield _on_one_line(f"{type(each).__module__}.{type(each).__qualname__}: {_told(each)}")


def _with_causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.insert(0, error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _told(error: BaseException) -> str:
    """Give an exception's message, but for the values that Postgres repeats in its own."""
    import asyncpg  # noqa: PLC0415 - commands that do without a database do not wait for it

    if not isinstance(error, asyncpg.PostgresError):
        return str(error)
    where = (error.schema_name, error.table_name, error.column_name, error.constraint_name)
    place = ".".join(name for name in where if name)
    # Classes 22 and 23 (data, integrity) quote what was written; `detail` does in every class.
    message = "" if (error.sqlstate or "")[:2] in {"22", "23"} else error.args[0]
    return " ".join(filter(None, (f"SQLSTATE {error.sqlstate}", place, message)))
