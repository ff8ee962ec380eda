"""Turn errors of Postgres, and of the connection to it, into problems."""

from __future__ import annotations

import re

import asyncpg

from api.core.errors import (
    CIRCULAR_REFERENCE,
    NOT_UNIQUE,
    RELATION_EXISTS,
    STORAGE_FULL,
    Problem,
    summary,
    unavailable,
)

_UNIQUE = {
    "external_ids_pkey": ("/external_ids", "Another record of this type has this external id"),
    "articles_url_key": ("/url", "Another article has this URL"),
}
_CIRCLES = {
    "links_circle_circle": "From here, references lead back to this record.",
    "links_circle_length": "From here, references lead through more than 1,000 records in a row, "
    "or to more than 10,000 records, so the service can't check that none of them leads back.",
}
_DETAIL = re.compile(r"\)=\((?P<value>.*)\) already exists")


def from_database(error: BaseException) -> Problem | None:  # noqa: PLR0911 - one return a cause
    """Translate an error of the database into a problem; None if the service is to blame.

    Of the errors that a client's input can cause, only those of uniqueness get this far, because
    only the database can tell them, at the moment of writing.
    """
    match error:
        case asyncpg.UniqueViolationError(
            constraint_name="links_symmetric_key" | "links_symmetric_sources_key"
        ):
            return Problem(RELATION_EXISTS)
        case asyncpg.IntegrityConstraintViolationError(constraint_name=str(name)) if (
            name in _CIRCLES
        ):
            property_ = str(error.column_name)
            detail = _CIRCLES[name]
            fault = {"pointer": f"/{property_}", "code": "circular-reference", "detail": detail}
            return Problem(CIRCULAR_REFERENCE, summary([fault]), errors=[fault])
        case asyncpg.UniqueViolationError(constraint_name=name) if name in _UNIQUE:
            place, conflict = _UNIQUE[name]
            match = _DETAIL.search(error.detail or "")
            detail = f"{conflict}: {match['value']}." if match else f"{conflict}."
            fault = {"pointer": place, "code": "not-unique", "detail": detail}
            return Problem(NOT_UNIQUE, detail, errors=[fault])
        case asyncpg.UniqueViolationError(constraint_name=str(name)) if name.endswith("_pkey"):
            return Problem(NOT_UNIQUE, "Another record has this id.")
        case asyncpg.DiskFullError():
            return Problem(STORAGE_FULL)
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            return unavailable("The database took too long; nothing was changed.")
        case (
            asyncpg.DeadlockDetectedError()
            | asyncpg.SerializationError()
            | asyncpg.TooManyConnectionsError()
            | asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.ReadOnlySQLTransactionError()
            | asyncpg.InterfaceError()
            | asyncpg.InternalClientError()
            | ConnectionError()
            | TimeoutError()
            | OSError()
        ):
            return unavailable("The database is away or busy.")
    return None
