"""The error with which an export or an import over HTTP ends."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2


class TransferError(Exception):
    """The transfer can't go on; says why in a sentence, and with which exit code it ends."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class RefusedError(TransferError):
    """The service refuses a request, and would refuse the same one again."""
