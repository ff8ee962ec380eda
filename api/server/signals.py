"""The signals that stop the service: the first one asks to stop, a later one to hurry."""

from __future__ import annotations

import signal
import time
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
SAME_SIGNAL_SECONDS: Final = 0.5
"""A signal within this time after the first one does not count as a second one.

A wrapper such as `uv run` passes on a signal that the terminal has already sent to this process.
"""


def drains_at(number: int) -> bool:
    """Tell whether clients are given time to go to another instance before the service stops.

    SIGTERM comes from a service manager. SIGINT comes from a terminal: somebody waits there, and
    hardly a balancer.
    """
    return number == signal.SIGTERM


class StopSignals:
    """Tells the first request to stop from a later one, which asks to hurry."""

    def __init__(self) -> None:
        """Start before any signal."""
        self.last = 0
        self._first_at = 0.0  # on the monotonic clock
        self._stopping = False

    def receive(self, number: int) -> bool:
        """Note a signal; return whether the user asks once more, and so wants no more waiting."""
        now = time.monotonic()
        again = self._stopping and now - self._first_at > SAME_SIGNAL_SECONDS
        if not self._stopping:
            self._first_at, self._stopping = now, True
        self.last = number
        return again
