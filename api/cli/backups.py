"""The commands that copy a database into a file and back: `backup`, `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from api.cli.options import begin, setting

_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_NEW_FILE)
@setting("data_dir")
@setting("log_level")
def backup(file: Path, **options: Any) -> None:  # noqa: ANN401
    """Write the whole database into FILE, as it is at one moment.

    The database is the one that `CLAIM_RECORDS_MIGRATE_URL` or `DATABASE_URL` names, or the
    embedded Postgres, whether `serve` runs it or not. The service may go on meanwhile. The file is
    read back before the command ends. Keep it safe: it holds everything, the identities of
    anonymous sources and the secrets of webhooks too.
    """
    settings = begin(**options)
    from api.server import backups  # noqa: PLC0415 - other commands do without the database

    with backups.database_to_read(settings) as url:
        size = backups.back_up(url, file)
    click.echo(f"{file} holds the database: {size:,} bytes, which were read back.")


@click.command()
@click.argument("file", type=_FILE)
@setting("data_dir")
@setting("log_level")
@click.option(
    "--keys-from",
    metavar="URL",
    help="The URL of the database that was in use until now: keys that were revoked or replaced "
    "there since the backup stay so.",
)
def restore(file: Path, keys_from: str | None, **options: Any) -> None:  # noqa: ANN401
    """Restore the backup FILE into an empty database.

    The database is the one that `CLAIM_RECORDS_MIGRATE_URL` or `DATABASE_URL` names, or an embedded
    Postgres in a new data directory. All of the backup is restored, or nothing.

    The change feed begins a new epoch. Readers of the feed have to export again, and webhooks are
    paused until `POST /v1/webhooks/resume`.
    """
    settings = begin(**options)
    from api.server import backups  # noqa: PLC0415 - other commands do without the database

    with backups.database_to_fill(settings) as url:
        restored = backups.restore(url, file, keys_from)
    click.echo(f"{file} was restored.")
    if restored.epoch is not None:
        click.echo(
            "The change feed has a new epoch: its readers export again, and webhooks wait for "
            "`POST /v1/webhooks/resume`."
        )
    if restored.keys is None:
        click.echo(
            "Keys that were revoked after the backup work again, and so do secrets that were "
            "replaced: `claim-records keys list` lists the keys, `claim-records keys revoke` ends "
            "one."
        )
    else:
        click.echo(f"{restored.keys} keys got the state that they have in the former database.")
    if settings.database_url:
        click.echo("Run `claim-records migrate --grant-to ROLE` for the role of the service.")
