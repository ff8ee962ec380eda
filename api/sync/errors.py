"""The error that ends work on another instance."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2


class SyncError(Exception):
    """The work cannot go on; says why in a sentence, and with which exit code it ends."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code
