"""The commands that describe the service: `openapi` and `settings`."""

from __future__ import annotations

import os
from importlib import resources

import rich_click as click

from api import settings
from api.cli.options import FIELDS, begin, description_of
from api.server.exits import CommandError
from api.settings import Settings, SettingsError


@click.command(name="openapi")
@click.option(
    "--check", is_flag=True, help="Print nothing; exit with 1 if the published file differs."
)
def print_openapi(*, check: bool) -> None:
    """Print the OpenAPI document that the code describes. It is the published one."""
    begin()
    from api import document as openapi  # noqa: PLC0415 - other commands do without the service
    from api.app import create_router  # noqa: PLC0415 - as above

    document = openapi.build(create_router())
    if not check:
        click.echo(document, nl=False)
    elif document != (resources.files("openapi") / "openapi.json").read_bytes():
        raise CommandError(
            "openapi/openapi.json differs from what the code describes. Write it anew: "
            "`claim-records openapi > openapi/openapi.json`."
        )


@click.command(name="settings")
def print_settings() -> None:
    """List every setting: its variable, its value now, its description and its default."""
    error = None
    try:
        current: Settings | None = settings.read()
    except SettingsError as refused:
        current, error = None, refused
    defaults = Settings()
    for name in FIELDS:
        variable = settings.variable(name)
        given = os.environ.get(variable)
        value = getattr(current, name) if current else given or getattr(defaults, name)
        click.echo(f"{variable}={settings.shown(name, value)}")
        click.echo(f"    {description_of(name)}")
        origin = "from the environment" if given else "the default"
        default = settings.shown(name, getattr(defaults, name)) or "(unset)"
        click.echo(f"    Default: {default}. Now {origin}.")
    if error:
        raise error
