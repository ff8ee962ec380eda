"""The errors with which an export or an import over HTTP ends."""

from __future__ import annotations

from api.sync.errors import SyncError


class TransferError(SyncError):
    """The transfer can't go on."""


class RefusedError(TransferError):
    """The service refuses a request, and would refuse the same one again."""
