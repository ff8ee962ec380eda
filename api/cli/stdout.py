"""Stdout, which can be full or broken: that is no bug of the command."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from api.server.exits import CommandError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Stdout(io.FileIO):
    """The file behind stdout; it says why it can't be written."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write to stdout; raise `CommandError`, unless it is only that the reader has gone."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Python writes what is left when it ends, and would fail once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise CommandError(f"stdout cannot be written: {error.strerror}.") from error


def guard_stdout() -> None:
    """Make each failure to write to stdout an error of the command, told in one line."""
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper) or stdout is not sys.__stdout__:
        return  # closed (`>&-`), or replaced in a test
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(stdout.fileno(), "w", closefd=False)),
        encoding=stdout.encoding,
        errors=stdout.errors,
        line_buffering=stdout.line_buffering,
        write_through=stdout.write_through,
    )
