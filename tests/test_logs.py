"""What the log promises: one event a line, nothing that was refused by value, no forged lines."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from api.server import logs
from api.settings import Settings

FORMATTERS = [logs.TextLines(), logs.JsonLines()]


@contextmanager
def loggers_put_back() -> Iterator[None]:
    """Undo `logs.configure` at the end."""
    root, ours = logging.getLogger(), logging.getLogger("claim_records")
    before = (root.handlers[:], root.level, ours.level)
    root.handlers.clear()  # pytest's own, which must not be closed
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Give what went to stderr, and put the loggers back."""
    with loggers_put_back():
        yield lambda: capsys.readouterr().err


def record(message: str, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    found = logging.LogRecord("claim_records", logging.ERROR, "", 0, message, (), exc_info)
    vars(found).update(extra)
    return found


def test_json_lines_carry_the_extras() -> None:
    line = logs.JsonLines().format(record("GET /v1/claims 200", request_id="r-1", milliseconds=1.5))
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "error",
        "logger": "claim_records",
        "message": "GET /v1/claims 200",
        "request_id": "r-1",
        "milliseconds": 1.5,
    }


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_client_cannot_write_lines_of_its_own(formatter: logging.Formatter) -> None:
    line = formatter.format(record("GET /x\n2026 forged\x1b[2J\u2028\udcff 404"))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    line.encode()


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("kind", [asyncpg.UniqueViolationError, asyncpg.DataError])
def test_values_that_postgres_quotes_are_left_out(
    formatter: logging.Formatter, kind: type[asyncpg.PostgresError]
) -> None:
    message = 'invalid input syntax: "confidential"'
    try:
        raise kind(message)
    except asyncpg.PostgresError as error:
        error.detail = "Key (url)=(confidential) already exists."
        error.constraint_name = "articles_url_key"
        failure = RuntimeError("a request failed")
        failure.__cause__ = error
        text = formatter.format(record("failed", failure))
    assert "confidential" not in text
    assert str(kind.sqlstate) in text
    assert "articles_url_key" in text
    assert "RuntimeError: a request failed" in text
    assert "test_logs.py" in text


def test_other_words_of_postgres_are_kept_without_their_detail() -> None:
    error = asyncpg.UndefinedColumnError('column "x" does not exist')
    error.detail = "confidential"
    text = logs.TextLines().format(record("failed", error))
    assert "42703" in text
    assert 'column "x" does not exist' in text
    assert "confidential" not in text


def test_levels_of_others_are_quieter(stderr: Callable[[], str]) -> None:
    logs.configure(Settings(log_level="info"))
    logging.getLogger("claim_records.access").info("ours")
    logging.getLogger("elsewhere").info("theirs")
    logging.getLogger("elsewhere").warning("warning")
    assert [line.split(": ")[1] for line in stderr().splitlines()] == [
        "ours",
        "warning",
    ]


def test_debug_shows_everything(stderr: Callable[[], str]) -> None:
    logs.configure(Settings(log_level="debug"))
    logging.getLogger("elsewhere").debug("theirs")
    assert stderr().endswith("debug elsewhere: theirs\n")
