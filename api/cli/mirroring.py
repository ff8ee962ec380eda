"""The command that keeps a copy of another instance: `mirror`."""

from __future__ import annotations

import os
import sys

import rich_click as click

from api.cli.options import begin
from api.server.exits import CommandError
from schemas.vocabularies import RecordType


@click.command()
@click.option("--from", "source", metavar="URL", required=True, help="The instance to copy.")
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    required=True,
    help="Where to keep the copy: `postgresql://…`, or the path of an SQLite file, which is made "
    "if it does not exist.",
)
@click.option(
    "--types",
    metavar="TYPES",
    help="Copy only records of these types, separated by commas; all types if left out.",
)
@click.option("--once", is_flag=True, help="End as soon as the copy is up to date.")
def mirror(source: str, target: str, types: str | None, *, once: bool) -> None:
    """Keep a copy of another instance, in a database or a file of your own.

    The command reads all records once (`GET /v1/export`), then follows the changes
    (`GET /v1/changes`). You may stop or kill it at any moment: the next start goes on where it was.
    It tries again after failures that pass. If the instance asks for a key, put it into the
    environment variable `MIRROR_KEY`. Only records that the key may see are copied; with another
    key, the copy is made anew.

    The copy is the table `mirror_records`, with the columns `type`, `id`, `version` and `doc`: the
    JSON that `GET` gives, byte for byte. Other programs may read the table at any time, but must
    not write to it.
    """
    begin()
    from api.sync.mirror import syncing  # noqa: PLC0415 - only this command needs the HTTP client
    from api.sync.mirror.errors import MirrorError  # noqa: PLC0415 - as above

    key = os.environ.get("MIRROR_KEY", "").strip() or None
    record_types = _read_types(types)
    try:
        signal = syncing.run(source, target, key, record_types, once=once)
    except MirrorError as error:
        raise CommandError(str(error), error.code) from error
    if signal and once:
        sys.exit(128 + signal)


def _read_types(listed: str | None) -> list[RecordType]:
    """Read a list of types that are separated by commas; an empty list means all types."""
    known = {record_type.value: record_type for record_type in RecordType}
    names = listed.split(",") if listed else []
    if not known.keys() >= set(names):
        raise click.UsageError(f"`--types` takes {', '.join(known)}, separated by commas.")
    return [known[name] for name in names]
