"""The commands that move records between a service and a file: `export`, `import`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import rich_click as click

from api.cli.options import KEY_FILE, begin, read_key
from api.server.exits import REFUSED, CommandError
from schemas.vocabularies import RecordType

if TYPE_CHECKING:
    from api.sync.transfer.importing import Import, Way
    from api.sync.transfer.instance import Instance

_STANDARD = "-"
_AGAIN = (
    "Run the same command again to go on. No record is created twice, but lines with `id` or "
    "`external_id` replace what others have changed meanwhile."
)
_TYPE = click.Choice([record_type.value for record_type in RecordType])


@click.command(name="export")
@click.argument("file")
@click.option("--from", "source", metavar="URL", required=True, help="The service to read.")
@click.option(
    "--type",
    "type_name",
    type=_TYPE,
    help="Export the list of this type. If it is left out, all records are exported, as lines "
    "that `import` takes.",
)
@click.option(
    "--query",
    "queries",
    metavar="NAME=VALUE",
    multiple=True,
    help="A query parameter of the list in the API: a filter, `sort`, `limit` or, for a table, "
    "`columns`, `wide` and `bom`. Repeat the option for several.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["ndjson", "csv", "geojson"]),
    help="The format of the file. If it is left out, the ending of FILE tells the format; on "
    "stdout, it is `ndjson`.",
)
@KEY_FILE
def export_records(
    file: str,
    source: str,
    type_name: str | None,
    queries: tuple[str, ...],
    format_name: str | None,
    key_file: Path | None,
) -> None:
    """Export records of a running service into FILE, or to stdout if FILE is `-`.

    The ending of FILE tells the format: `.ndjson`, `.csv` or, for claims, `.geojson`. With `.gz` or
    `.zst` behind it, the file is compressed. The key comes from the environment variable
    `EXPORT_KEY` or from `--key-file`. Only records that the key may see are exported.

    FILE is there only when it is whole; a file of that name is replaced. If the connection breaks,
    the export begins anew, up to eight times. What goes to stdout is not repeated: if it is cut
    off, the command fails.
    """
    begin()
    from api.sync.transfer import exporting  # noqa: PLC0415 - only transfers need the HTTP client
    from api.sync.transfer.files import kind_of  # noqa: PLC0415 - as above

    kind = kind_of(file)
    record_type = None if type_name is None else RecordType[type_name.upper()]
    named = format_name or (kind.format if file != _STANDARD else exporting.LINES)
    if named not in exporting.FORMATS:
        endings = ", ".join(f".{each}" for each in exporting.FORMATS)
        raise click.UsageError(
            f"The name {file} tells no format: end it with {endings}, or add `--format`."
        )
    if record_type is None and named != exporting.LINES:
        raise click.UsageError("Add `--type`: a file in this format has records of one type only.")
    wanted = exporting.Wanted(record_type, _pairs(queries), named, kind.coding)
    with _instance(source, key_file, "EXPORT_KEY") as instance:
        if file == _STANDARD:
            done = exporting.export_to_stream(instance, wanted, sys.stdout.buffer)
            told = f"The export was written to stdout: {done}."
        else:
            done = exporting.export_to_file(instance, wanted, Path(file))
            told = f"{file} holds the export: {done}."
    click.echo(told, err=file == _STANDARD)


def _pairs(queries: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read query parameters; those that the command sets itself are refused."""
    pairs = []
    for query in queries:
        name, sign, value = query.partition("=")
        if not sign or not name:
            raise click.UsageError(f"`--query {query}` has no `=`: it takes NAME=VALUE.")
        if name == "format":
            raise click.UsageError("Use `--format`, or an ending of FILE, for the format.")
        pairs.append((name, value))
    return pairs


def _check_idempotency_key(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse what no header can carry, with the number of a line behind it."""
    if value is not None and not re.fullmatch(r"[!-~]([ -~]{0,198}[!-~])?", value):
        raise click.BadParameter("It takes 1 to 200 characters of printable ASCII.")
    return value


@click.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--to", "target", metavar="URL", required=True, help="The service to write to.")
@click.option(
    "--type",
    "type_name",
    type=_TYPE,
    help="The type of the records, for a table or for lines that `export --type` wrote. If it is "
    "left out, each line must name its type, as the lines of `export` without `--type` do.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["ndjson", "csv", "jsonld"]),
    help="The format of the file. If it is left out, the ending of FILE tells the format; "
    "otherwise it is `ndjson`.",
)
@click.option("--dry-run", is_flag=True, help="Check every line, and keep nothing.")
@click.option(
    "--atomic",
    is_flag=True,
    help="Write all lines or none. Lines may then refer to later lines.",
)
@click.option(
    "--idempotency-key",
    metavar="TEXT",
    callback=_check_idempotency_key,
    help="The text by which the service recognises this file when you send it again, even with "
    "corrected lines. If it is left out, the service recognises the file by its content.",
)
@KEY_FILE
def import_records(
    *,
    file: BinaryIO,
    target: str,
    type_name: str | None,
    format_name: str | None,
    idempotency_key: str | None,
    key_file: Path | None,
    **flags: bool,
) -> None:
    """Import FILE into a running service, or what comes on stdin if FILE is `-`.

    FILE has JSON lines (`.ndjson`), a table (`.csv`) or reviews of fact-checkers (`.jsonld`), and
    may be compressed (`.gz`, `.zst`). The key comes from the environment variable `IMPORT_KEY` or
    from `--key-file`, and needs the scope `import`.

    Lines are sent in pieces of a thousand; everything else, and all that is `--atomic` or a
    `--dry-run`, is one request. A request is sent again if the connection breaks, up to eight
    times. You may stop the command and run it again: no record is created twice. But a line with
    `id` or `external_id` writes its record each time, and so replaces what others have changed
    meanwhile. To write lines that name no record a second time, give another `--idempotency-key`.

    What was refused is printed on stdout, each with its number in FILE, and the command ends with
    exit code 4. The dry run of a table prints each cell that would change.
    """
    begin()
    from api.sync.transfer import pieces  # noqa: PLC0415 - as for `export`
    from api.sync.transfer.files import kind_of, read_pieces  # noqa: PLC0415 - as above
    from api.sync.transfer.importing import FORMS, LINES, Import, Way  # noqa: PLC0415 - as above

    kind = kind_of(file.name)
    if (named := format_name or kind.format) == "geojson":
        raise click.UsageError(
            f"{file.name} can't be imported: it has the places of claims, but not the claims."
        )
    form = FORMS.get(named, LINES)
    record_type = None if type_name is None else RecordType[type_name.upper()]
    if form.unit == "row" and record_type is None:
        raise click.UsageError("Add `--type`: a table does not tell the type of its records.")
    if form.unit == "review" and record_type is not None:
        raise click.UsageError("Leave out `--type`: reviews become records of several types.")
    with _instance(target, key_file, "IMPORT_KEY") as instance, tempfile.TemporaryFile() as copy:
        parts = read_pieces(file, kind.coding)
        try:
            if form is LINES:
                in_one = any(flags.values())
                cut = pieces.cut_lines(parts, copy, record_type, in_one=in_one)
            else:
                cut = pieces.copy_whole(parts, copy)
        except OSError as error:
            raise CommandError(f"{file.name} cannot be copied: {error.strerror}.") from error
        table_of = record_type if form.unit == "row" else None
        way = Way(form, idempotency_key or cut.digest, table_of, **flags)
        work = Import(instance, copy, cut, way)
        with _how_far(work, instance):
            work.run(sys.stdout)
    _conclude(work, way)


@contextmanager
def _how_far(work: Import, instance: Instance) -> Iterator[None]:
    """If an import ends early, tell how far it came, unless the service refuses all of it."""
    from api.sync.transfer.errors import RefusedError  # noqa: PLC0415 - as for `export`

    try:
        yield
    except BaseException as error:  # a signal too
        if work.answered or not isinstance(error, RefusedError):
            instance.progress.clear()
            click.echo(f"{work.how_far}. {_AGAIN}", err=True)
        raise


def _conclude(work: Import, way: Way) -> None:
    """Print the totals, and end with the exit code for refused lines if there are any."""
    refused = work.counts.get("refused", 0)
    if way.dry_run:
        kept = " Nothing was kept, because it was a dry run."
    elif way.atomic and refused:
        kept = " Nothing was written, because lines were refused."
    else:
        kept = ""
    click.echo(f"{work.how_far}.{kept}")
    if refused:
        sys.exit(REFUSED)


@contextmanager
def _instance(url: str, key_file: Path | None, key_variable: str) -> Iterator[Instance]:
    """Make the client of a service, and turn its errors into those of the command."""
    from api.sync.transfer.errors import TransferError  # noqa: PLC0415 - as for `export`
    from api.sync.transfer.instance import connect  # noqa: PLC0415 - as above
    from api.sync.transfer.progress import Progress  # noqa: PLC0415 - as above

    progress = Progress(sys.stderr)
    try:
        with connect(url, read_key(key_variable, key_file), key_variable, progress) as instance:
            yield instance
    except TransferError as error:
        raise CommandError(str(error), error.code) from error
    finally:
        progress.clear()
