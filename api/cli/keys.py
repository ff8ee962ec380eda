"""The commands for keys: `keys create`, `list`, `rotate` and `revoke`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import rich_click as click

from api.cli.options import begin, setting
from api.settings import Settings
from schemas.keys import MAX_OVERLAP_SECONDS, OVERLAP_SECONDS, KeyCreate
from schemas.vocabularies import Scope

_COLUMNS = ("id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke keys.

    The keys are those of the database that `DATABASE_URL` names, or of the embedded Postgres,
    whether `serve` runs it or not.
    """


@keys.command(name="create")
@setting("data_dir")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do. Repeat the option for several scopes.",
)
@click.option(
    "--expires-at",
    metavar="INSTANT",
    help="When the key stops working (RFC 3339); never if left out.",
)
def create_key(
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: str | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Create a key and print it, and nothing else. The key is shown only once."""
    given = {"name": name, "scopes": list(dict.fromkeys(scopes)), "expires_at": expires_at}
    try:
        key = msgspec.convert(given, KeyCreate)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{error}.") from None
    for fault in key.faults():
        raise click.UsageError(fault.detail)
    with _database(**options) as (settings, url, server_keys):
        click.echo(server_keys.create_key(settings, url, name, key.scopes, key.expires_at))


@keys.command(name="list")
@setting("data_dir")
def list_keys(**options: Any) -> None:  # noqa: ANN401
    """List all keys, also revoked ones: one on each line, with tabs between the columns."""
    with _database(**options) as (settings, url, server_keys):
        click.echo("\t".join(_COLUMNS))
        for key in server_keys.list_keys(settings, url):
            click.echo("\t".join(_cell(key[column]) for column in _COLUMNS))


def _cell(value: Any) -> str:  # noqa: ANN401 - of any column
    """Write a value in one line, without tabs."""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="seconds")
    return " ".join(str(value).split()) if value is not None else "-"


@keys.command(name="rotate")
@setting("data_dir")
@click.argument("identity", metavar="ID")
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, MAX_OVERLAP_SECONDS),
    default=OVERLAP_SECONDS,
    help="How long the old secret still works beside the new one; a day if left out.",
)
def rotate_key(*, identity: str, overlap_seconds: int, **options: Any) -> None:  # noqa: ANN401
    """Give a key a new secret and print it, and nothing else. It is shown only once."""
    with _database(**options) as (settings, url, server_keys):
        click.echo(server_keys.rotate_key(settings, url, identity, overlap_seconds))


@keys.command(name="revoke")
@setting("data_dir")
@click.argument("identity", metavar="ID")
def revoke_key(*, identity: str, **options: Any) -> None:  # noqa: ANN401
    """Revoke a key for ever. A running service refuses it within a second."""
    with _database(**options) as (settings, url, server_keys):
        server_keys.revoke_key(settings, url, identity)


@contextmanager
def _database(**options: Any) -> Iterator[tuple[Settings, str, Any]]:  # noqa: ANN401
    """Give the settings, a database whose schema is up to date, and the module that works on it."""
    settings = begin(**options)
    from api.server import keys as server_keys  # noqa: PLC0415 - `--help` does without a database
    from api.server import preparing  # noqa: PLC0415 - as above
    from api.server.database import running_database  # noqa: PLC0415 - as above

    with running_database(settings) as url:
        preparing.bring_forward(settings, url, may_migrate=not settings.database_url)
        yield settings, url, server_keys
