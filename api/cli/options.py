"""The options that override settings, and the first step of each command: reading the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click

from api import settings
from api.server import logs
from api.settings import Settings
from schemas.shapes import fields

Command = TypeVar("Command", bound=Callable[..., Any])

FIELDS: Final = {field.name: field for field in fields(Settings)}
"""The settings, by name."""


def setting(name: str) -> Callable[[Command], Command]:
    """Make an option of a setting, with the setting's type, limits and description."""
    field = FIELDS[name]

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
        help=f"{description_of(name)} Overrides `{settings.variable(name)}`.",
    )


def description_of(name: str) -> str:
    """Give a setting's description, from its type."""
    type_info = msgspec.inspect.type_info(FIELDS[name].type)
    schema = type_info.extra_json_schema if isinstance(type_info, msgspec.inspect.Metadata) else {}
    return str((schema or {}).get("description", ""))


def begin(**options: Any) -> Settings:  # noqa: ANN401 - as typed as the settings
    """Read the settings, of which options override those of the environment, and start logging."""
    given = {name: value for name, value in options.items() if value is not None}
    decided = msgspec.structs.replace(settings.read(), **given)
    logs.configure(decided)
    return decided


KEY_FILE: Final = click.option(
    "--key-file",
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the key. If it is left out, the key comes from the environment.",
)
"""The option for a key that is not in the environment. Lists of processes show neither."""
_MAX_KEY_BYTES: Final = 4_096


def read_key(variable: str, file: Path | None) -> str | None:
    """Read the key for another instance: from a file, or from a variable of the environment."""
    if file is None:
        return os.environ.get(variable, "").strip() or None
    try:
        with file.open("rb") as opened:
            key = opened.read(_MAX_KEY_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"The key in {file} cannot be read.") from None
    if not key:
        raise click.UsageError(f"{file} holds no key.")
    return key
