"""The command as a whole: its subcommands, and how it ends when something goes wrong."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Final, NoReturn

import rich_click as click

from api.cli.backups import backup, restore
from api.cli.keys import keys
from api.cli.mirroring import mirror
from api.cli.printing import print_openapi, print_settings
from api.cli.service import database_url, migrate, serve
from api.cli.stdout import guard_stdout
from api.cli.transferring import export_records, import_records
from api.cli.version import version
from api.embedded import EmbeddedPostgresError
from api.server import logs
from api.server.exits import FAILED, USAGE, CommandError, HurriedError
from api.server.signals import STOPPING
from api.settings import SettingsError

log = logging.getLogger("claim_records")


def main() -> NoReturn:
    """Run the command line and exit; an error becomes one line on stderr."""
    for number in STOPPING:
        signal.signal(number, _end_at_signal)
    guard_stdout()
    try:
        commands(prog_name="claim-records", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "claim-records"
        message = error.format_message()
        end = "" if message.endswith((".", "?", "!")) else "."  # reasons of the system have none
        _fail(f"{message}{end} See `{path} --help`.", error.exit_code)
    except SettingsError as error:
        _fail(str(error), USAGE)
    except CommandError as error:
        _fail(str(error), error.code)
    except EmbeddedPostgresError as error:
        _fail(str(error), FAILED)
    except HurriedError as error:
        sys.exit(128 + error.number)
    except BrokenPipeError:  # as in `claim-records settings | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the last place; it ends the process
        kind = type(error).__name__
        hint = "Set `CLAIM_RECORDS_LOG_LEVEL=debug` to see where."
        _fail(f"claim-records failed, which is a bug: {kind}: {error}. {hint}", FAILED)
    sys.exit(0)


def _end_at_signal(number: int, _: FrameType | None) -> NoReturn:
    """End the command by an exception, so that every `finally` runs."""
    sys.exit(128 + number)


def _fail(message: str, code: int) -> NoReturn:
    """Print an error in one line, as JSON where the log is JSON, and exit."""
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    line = " ".join(message.split())
    if isinstance(_log_formatter(), logs.JsonLines):
        log.error(line)
    else:
        click.echo(f"Error: {line}", err=True)
    sys.exit(code)


def _log_formatter() -> logging.Formatter | None:
    handlers = logging.getLogger().handlers
    return handlers[0].formatter if handlers else None


_HELP: Final = {
    "help_option_names": ["-h", "--help"],
    "rich_help_config": click.RichHelpConfiguration(text_markup="markdown"),
}


@click.group(invoke_without_command=True, context_settings=_HELP)
@click.version_option(version(), message="%(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Record who claimed what, via whom, in which article, and who denied it.

    `claim-records serve --demo` shows what the service does; it needs nothing but a directory for
    its data. The settings come from the environment: `claim-records settings` lists them.

    Exit codes: 0, the command has done its work or was stopped by a signal as intended; 1, it
    failed; 2, the command line or a setting is not valid; 3, the database cannot be reached, or its
    schema is not the one that this version needs; 4, `import` is done, and some lines were refused;
    128 + n, signal n ended the command before it had
    done its work.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    serve,
    migrate,
    database_url,
    backup,
    restore,
    keys,
    mirror,
    export_records,
    import_records,
    print_openapi,
    print_settings,
):
    commands.add_command(_command)
