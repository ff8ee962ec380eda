"""The command `claim-records`: serve, migrate, and say how things are."""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import rich_click as click

from api import document as openapi
from api import settings
from api.app import create_router
from api.core.db import Database
from api.embedded import EmbeddedPostgresError, running_url
from api.server import logs
from api.server import serving as server
from api.server.serving import FAILED, USAGE, Refused
from api.settings import Settings, SettingsError
from schemas.base import fields
from schemas.keys import MAX_OVERLAP_SECONDS, OVERLAP_SECONDS, KeyCreate
from schemas.vocabularies import RecordType, Scope

Command = TypeVar("Command", bound=Callable[..., Any])

log = logging.getLogger("claim_records")


def main() -> NoReturn:
    """Run the command line, and exit; whatever goes wrong is one line on stderr."""
    for number in server.STOPPING:
        signal.signal(number, _interrupted)
    try:
        commands(prog_name="claim-records", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "claim-records"
        _fail(f"{error.format_message()} See `{path} --help`.", error.exit_code)
    except SettingsError as error:
        _fail(str(error), USAGE)
    except Refused as error:
        _fail(str(error), error.code)
    except EmbeddedPostgresError as error:
        _fail(str(error), FAILED)
    except server.HurriedError as error:
        sys.exit(128 + error.number)
    except BrokenPipeError:  # as in `claim-records settings | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the last place; it ends the process
        kind = type(error).__name__
        more = "Set `CLAIM_RECORDS_LOG_LEVEL=debug` to see where."
        _fail(f"claim-records failed, which is a bug: {kind}: {error}. {more}", FAILED)
    sys.exit(0)


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    """End what goes on, cleanly: as an exception it runs every `finally`."""
    sys.exit(128 + number)


def _fail(message: str, code: int) -> NoReturn:
    """Print an error in one line, as JSON where the log is, and exit."""
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    line = " ".join(message.split())
    if isinstance(_formatter(), logs.JsonLines):
        log.error(line)
    else:
        click.echo(f"Error: {line}", err=True)
    sys.exit(code)


def _formatter() -> logging.Formatter | None:
    handlers = logging.getLogger().handlers
    return handlers[0].formatter if handlers else None


# --- options -------------------------------------------------------------------------------------

_FIELDS: Final = {field.name: field for field in fields(Settings)}


def setting(name: str) -> Callable[[Command], Command]:
    """Make an option of a setting, checked as the setting is."""
    field = _FIELDS[name]

    def convert(_: click.Context, __: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
        try:
            return value and msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            raise click.BadParameter(f"{value}: {error}.") from None

    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        callback=convert,
        metavar=name.upper(),
        help=f"{_description(name)} Overrides `{settings.variable(name)}`.",
    )


def _description(name: str) -> str:
    meta = msgspec.inspect.type_info(_FIELDS[name].type)
    found = meta.extra_json_schema if isinstance(meta, msgspec.inspect.Metadata) else None
    return str((found or {}).get("description", ""))


def _begin(**given: Any) -> Settings:  # noqa: ANN401 - as typed as the settings
    """Read the settings, options first, and start logging."""
    options = {name: value for name, value in given.items() if value is not None}
    found = msgspec.structs.replace(settings.read(), **options)
    logs.configure(found)
    return found


# --- the command ---------------------------------------------------------------------------------


def _version() -> str:
    """Give the version that is installed, or that of the source tree this runs from."""
    try:
        return metadata.version("claim-records")
    except metadata.PackageNotFoundError:
        project = Path(__file__).parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text())["project"]["version"])


_HELP: Final = {
    "help_option_names": ["-h", "--help"],
    "rich_help_config": click.RichHelpConfiguration(text_markup="markdown"),
}


@click.group(invoke_without_command=True, context_settings=_HELP)
@click.version_option(_version(), message="%(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Keep who claimed what, via whom, in which article, and who denied it.

    `claim-records serve --demo` shows what this is; it needs nothing but a directory for its
    data. Settings come from the environment: `claim-records settings` lists them.

    Exit codes: 0 done, or stopped as asked; 1 it failed; 2 the command line or a setting is not
    valid; 3 the database cannot be reached, or its schema is not the one needed; 128 + n ended by
    signal n before it was done.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@commands.command()
@setting("host")
@setting("port")
@setting("data_dir")
@setting("workers")
@setting("log_level")
@setting("log_format")
@click.option("--demo", "with_demo", is_flag=True, help="Load some sample records first.")
@click.option("--migrate", "may_migrate", is_flag=True, help="Bring the schema up to date first.")
def serve(*, with_demo: bool, may_migrate: bool, **given: Any) -> None:  # noqa: ANN401
    """Serve the API until Ctrl-C or SIGTERM.

    Without `DATABASE_URL` a private Postgres is started, kept in the data directory and brought
    up to date by itself. With it, the schema is only changed if `--migrate` says so.

    The first start on a database prints a key that may do everything, once; `claim-records keys`
    makes others.

    Running requests may finish when it is stopped (`CLAIM_RECORDS_STOP_SECONDS`); a second signal
    hurries. Loading the sample records again changes nothing, but for samples you have edited:
    those are as they were.
    """
    found = _begin(**given)
    from api.server import preparing  # noqa: PLC0415 - alembic takes a second to load

    with server.listen(found.host, found.port) as listener, server.postgres(found) as url:
        preparing.bring_forward(found, url, may_migrate=may_migrate or not found.database_url)
        if not found.database_url:
            url = preparing.for_service(url)  # noqa: PLW2901 - the owner has nothing more to do
        if with_demo:
            log.info(preparing.load_samples(found, url))
        key = preparing.first_key(found, url)

        def announce() -> None:
            _announce(server.address_of(listener), key, with_demo=with_demo)

        server.serve(found, url, listener, announce)


def _announce(address: str, key: str | None, *, with_demo: bool) -> None:
    query = "?response_family=declines&expand=sources,denials" if with_demo else ""
    lines = [
        f"claim-records {_version()} is ready at {address}",
        f"Documentation: {address}/docs",
        f"Try: curl '{address}/v1/claims{query}'",
    ]
    if key is not None:
        lines += [
            f"Key: {key}",
            "It may do everything, and is shown this once. Send `Authorization: Bearer` and it.",
        ]
    click.echo("\n".join(lines))
    sys.stdout.flush()


@commands.command()
@setting("data_dir")
@setting("log_level")
@click.option(
    "--to", metavar="REVISION", default="head", help="The revision; newest if left out, or `base`."
)
@click.option(
    "--grant-to", metavar="ROLE", help="Let this role read and write, but change no schema."
)
def migrate(to: str, grant_to: str | None, **given: Any) -> None:  # noqa: ANN401
    """Bring the database's schema up to date, or to a revision.

    Works on `DATABASE_URL` (as the role of `CLAIM_RECORDS_MIGRATE_URL`, if that is set), or on
    the embedded Postgres, whether `serve` runs it or not. Going back to an older revision drops
    what the newer one keeps: make a copy first.
    """
    found = _begin(**given)
    from api.server import preparing  # noqa: PLC0415 - alembic takes a second to load

    preparing.refuse_unknown(to)
    with _database(found) as url:
        click.echo(preparing.migrate(found, url, to))
        if grant_to and to != "base":
            preparing.grant(found, url, grant_to)
            click.echo(f"{grant_to} may read and write.")


@contextmanager
def _database(found: Settings) -> Iterator[str]:
    """Give the URL of the database: one's own, the embedded one that runs, or start that."""
    url = found.database_url or running_url(Path(found.data_dir))
    if url:
        yield url
        return
    with server.postgres(found) as url:
        yield url


# --- keys ----------------------------------------------------------------------------------------


@commands.group()
def keys() -> None:
    """Create, list, rotate and revoke keys.

    Works on `DATABASE_URL`, or on the embedded Postgres, whether `serve` runs it or not.
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
    help="What it may do; repeat the option.",
)
@click.option("--expires-at", metavar="INSTANT", help="From when on it is refused (RFC 3339).")
def create_key(*, name: str, scopes: Sequence[str], expires_at: str | None, **given: Any) -> None:  # noqa: ANN401
    """Make a key, and print it alone: it is shown this once."""
    asked = {"name": name, "scopes": list(dict.fromkeys(scopes)), "expires_at": expires_at}
    try:
        wanted = msgspec.convert(asked, KeyCreate)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{error}.") from None
    for fault in wanted.faults():
        raise click.UsageError(fault.detail)
    with _migrated(**given) as (found, url, preparing):
        click.echo(preparing.create_key(found, url, name, wanted.scopes, wanted.expires_at))


@keys.command(name="list")
@setting("data_dir")
def list_keys(**given: Any) -> None:  # noqa: ANN401
    """List all keys, revoked ones too, a line each, between tabs."""
    columns = ("id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    with _migrated(**given) as (found, url, preparing):
        click.echo("\t".join(columns))
        for key in preparing.list_keys(found, url):
            click.echo("\t".join(_cell(key[column]) for column in columns))


def _cell(value: Any) -> str:  # noqa: ANN401 - of any column
    """Write a value between tabs, in one line."""
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
    help="How long the old secret works beside the new one; a day if left out.",
)
def rotate_key(*, identity: str, overlap_seconds: int, **given: Any) -> None:  # noqa: ANN401
    """Give a key a new secret, and print it alone: it is shown this once."""
    with _migrated(**given) as (found, url, preparing):
        click.echo(preparing.rotate_key(found, url, identity, overlap_seconds))


@keys.command(name="revoke")
@setting("data_dir")
@click.argument("identity", metavar="ID")
def revoke_key(*, identity: str, **given: Any) -> None:  # noqa: ANN401
    """Withdraw a key for good; what runs refuses it within a second."""
    with _migrated(**given) as (found, url, preparing):
        preparing.revoke_key(found, url, identity)


@contextmanager
def _migrated(**given: Any) -> Iterator[tuple[Settings, str, Any]]:  # noqa: ANN401
    """Give the settings, a database whose schema is up to date, and what works on it."""
    found = _begin(**given)
    from api.server import preparing  # noqa: PLC0415 - alembic takes a second to load

    with _database(found) as url:
        preparing.bring_forward(found, url, may_migrate=not found.database_url)
        yield found, url, preparing


# --- a copy --------------------------------------------------------------------------------------


@commands.command()
@click.option("--from", "source", metavar="URL", required=True, help="The instance to copy.")
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    required=True,
    help="`postgresql://…`, or the path of an SQLite file, which is made if it is not there.",
)
@click.option(
    "--types", metavar="TYPES", help="Only these types of records, with commas; all if left out."
)
@click.option("--once", is_flag=True, help="End as soon as the copy is up to date.")
def mirror(source: str, target: str, types: str | None, *, once: bool) -> None:
    """Keep a copy of another instance, in a database or a file of one's own.

    Reads everything once (`GET /v1/export`), then follows the changes (`GET /v1/changes`). It may
    be stopped, killed and started again at any moment: it goes on where it was. Failures that
    pass are tried again. The key, if one is needed, is taken from the environment: `MIRROR_KEY`.
    What the key may not see is not copied; for another key all is read anew.

    The table `mirror_records` has the records: `type`, `id`, `version`, and `doc`, the JSON as
    `GET` gives it, byte for byte. Others may read it meanwhile, and only read.
    """
    _begin()
    # They import the HTTP client, which nothing else here needs.
    from api.sync.mirror import syncing  # noqa: PLC0415
    from api.sync.mirror.errors import MirrorError  # noqa: PLC0415

    key = os.environ.get("MIRROR_KEY", "").strip() or None
    wanted = _types(types)
    try:
        stopped = syncing.run(source, target, key, wanted, once=once)
    except MirrorError as error:
        raise Refused(str(error), error.code) from error
    if stopped and once:
        sys.exit(128 + stopped)


def _types(listed: str | None) -> list[RecordType]:
    """Read types with commas; none where none are named."""
    known = {of.value: of for of in RecordType}
    names = listed.split(",") if listed else []
    if not known.keys() >= set(names):
        raise click.UsageError(f"`--types` takes {', '.join(known)}, with commas.")
    return [known[name] for name in names]


# --- what it is ----------------------------------------------------------------------------------


@commands.command(name="openapi")
@click.option("--check", is_flag=True, help="Exit 1 if the published file is another.")
def print_openapi(*, check: bool) -> None:
    """Print the OpenAPI document that the code describes, which is the published one."""
    found = _begin()
    router, _ = create_router(found, Database("", found))
    document = openapi.build(router)
    if not check:
        click.echo(document, nl=False)
    elif document != (resources.files("openapi") / "openapi.json").read_bytes():
        raise Refused(
            "openapi/openapi.json is not what the code describes; "
            "`claim-records openapi` prints what is."
        )


@commands.command(name="settings")
def print_settings() -> None:
    """List every setting: its variable, what it is, its default, and its value now."""
    error = None
    try:
        now: Settings | None = settings.read()
    except SettingsError as found:
        now, error = None, found
    defaults = Settings()
    for name in _FIELDS:
        variable = settings.variable(name)
        given = os.environ.get(variable)
        value = getattr(now, name) if now else given or getattr(defaults, name)
        click.echo(f"{variable}={settings.shown(name, value)}")
        click.echo(f"    {_description(name)}")
        origin = "from the environment" if given else "the default"
        default = settings.shown(name, getattr(defaults, name)) or "(unset)"
        click.echo(f"    Default: {default}. Now {origin}.")
    if error:
        raise error


@commands.command()
@setting("data_dir")
def database_url(**given: Any) -> None:  # noqa: ANN401
    """Print the URL of the embedded Postgres while `serve` runs it, for psql and the like."""
    data_dir = Path(_begin(**given).data_dir)
    url = running_url(data_dir)
    if url is None:
        raise Refused(f"No embedded Postgres is running on {data_dir}; `claim-records serve` does.")
    click.echo(url)


if __name__ == "__main__":
    main()
