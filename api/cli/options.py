"""The options that override settings, and the first step of each command: reading the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click

from api import settings
from api.server import logs
from api.settings import Settings
from schemas.base import fields

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
