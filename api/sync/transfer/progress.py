"""Progress: how far a transfer is, for a person at a terminal and for readers of the log."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final, TextIO

log = logging.getLogger("claim_records.transfer")

_TERMINAL_SECONDS: Final = 0.1
_LOG_SECONDS: Final = 10.0
_ANEW: Final = "\r\x1b[2K"
"""Goes to the start of the terminal's line, and empties the line."""


class Progress:
    """Tells how far a transfer is.

    On a terminal it is one line, which is written over; otherwise it is a line of the log now and
    then.
    """

    def __init__(self, stream: TextIO) -> None:
        """Take the stream that people read; usually it is stderr."""
        self._terminal = stream if stream.isatty() else None
        self._pause = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        self._next = monotonic() + self._pause
        self._shown = False

    def show(self, text: str) -> None:
        """Tell how far it is, unless that was told a moment ago."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        if self._terminal is None:
            log.info(text)
            return
        self._terminal.write(f"{_ANEW}{text}")
        self._terminal.flush()
        self._shown = True

    def warn(self, text: str) -> None:
        """Log a warning, on a line of its own."""
        self.clear()
        log.warning(text)

    def clear(self) -> None:
        """Empty the line of the terminal, so that something else can be printed there."""
        if self._terminal is not None and self._shown:
            self._terminal.write(_ANEW)
            self._terminal.flush()
            self._shown = False
