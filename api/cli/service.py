"""The commands that run the service and its database: `serve`, `migrate`, `database-url`."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from api.cli.options import begin, setting
from api.cli.version import version
from api.embedded import running_url
from api.server.exits import CommandError

log = logging.getLogger("claim_records")


@click.command()
@setting("host")
@setting("port")
@setting("data_dir")
@setting("workers")
@setting("log_level")
@setting("log_format")
@click.option("--demo", "with_demo", is_flag=True, help="Load some sample records first.")
@click.option(
    "--migrate", "may_migrate", is_flag=True, help="Bring the database's schema up to date first."
)
def serve(*, with_demo: bool, may_migrate: bool, **options: Any) -> None:  # noqa: ANN401
    """Serve the API until Ctrl-C or SIGTERM.

    Without `DATABASE_URL`, the service starts a private Postgres, keeps its data in the data
    directory and brings its schema up to date. With `DATABASE_URL`, the schema is changed only if
    you say `--migrate`.

    The first start on a database prints a key that may do everything. It is shown this once;
    `claim-records keys` makes other keys.

    When the service is stopped, running requests may take `CLAIM_RECORDS_STOP_SECONDS` to finish.
    A second signal stops it at once. If you load the sample records again, samples that you have
    edited are put back as they were; nothing else changes.
    """
    settings = begin(**options)
    from api.app import create_app_on_url  # noqa: PLC0415 - other commands do without the service
    from api.server import keys, listening, preparing, serving  # noqa: PLC0415 - as above
    from api.server.database import started_database  # noqa: PLC0415 - as above

    with (
        listening.listen(settings.host, settings.port) as listener,
        started_database(settings) as database,
    ):
        url = database.url
        may_migrate = may_migrate or not settings.database_url
        preparing.bring_forward(settings, url, may_migrate=may_migrate)
        if not settings.database_url:
            url = preparing.for_service(url)  # the owner's work is done
        if with_demo:
            log.info(preparing.load_samples(settings, url))
        key = keys.create_first_key(settings, url)

        def announce() -> None:
            _announce(listening.address_of(listener), key, with_demo=with_demo)

        factory = partial(create_app_on_url, settings, url)
        serving.serve(settings, factory, listener, announce, database.supervise)


def _announce(address: str, key: str | None, *, with_demo: bool) -> None:
    query = "?response_family=declines&expand=sources,denials" if with_demo else ""
    lines = [
        f"claim-records {version()} is ready at {address}",
        f"Documentation: {address}/docs",
        f"Try: curl '{address}/v1/claims{query}'",
    ]
    if key is not None:
        lines += [
            f"Key: {key}",
            "It may do everything and is shown only once. Send it as `Authorization: Bearer KEY`.",
        ]
    click.echo("\n".join(lines))
    sys.stdout.flush()


@click.command()
@setting("data_dir")
@setting("log_level")
@click.option(
    "--to",
    metavar="REVISION",
    default="head",
    help="The revision to go to; the newest one (`head`) if left out. `base` is an empty database.",
)
@click.option(
    "--grant-to",
    metavar="ROLE",
    help="Also let this role read and write records, but not change the schema.",
)
def migrate(to: str, grant_to: str | None, **options: Any) -> None:  # noqa: ANN401
    """Bring the database's schema up to date, or to a revision.

    The database is the one that `DATABASE_URL` names, reached as the role of
    `CLAIM_RECORDS_MIGRATE_URL` if that is set. Without `DATABASE_URL` it is the embedded Postgres,
    whether `serve` runs it or not. An older revision drops what it has no place for: make a copy
    of the database before you go back.
    """
    settings = begin(**options)
    from api.server import preparing  # noqa: PLC0415 - other commands do without the database
    from api.server.database import running_database  # noqa: PLC0415 - as above

    preparing.refuse_unknown(to)
    with running_database(settings) as url:
        click.echo(preparing.migrate(settings, url, to))
        if grant_to and to != "base":
            preparing.grant(settings, url, grant_to)
            click.echo(f"{grant_to} may read and write.")


@click.command()
@setting("data_dir")
def database_url(**options: Any) -> None:  # noqa: ANN401
    """Print the URL of the embedded Postgres while `serve` runs it.

    Other programs, such as psql, can connect to it with this URL.
    """
    data_dir = Path(begin(**options).data_dir)
    url = running_url(data_dir)
    if url is None:
        raise CommandError(
            f"No embedded Postgres is running on {data_dir}. `claim-records serve` starts it."
        )
    click.echo(url)
