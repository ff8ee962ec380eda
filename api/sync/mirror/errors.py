"""The errors because of which a mirror stops, or makes a new copy."""

from __future__ import annotations

from typing import Final

from api.sync.errors import SyncError

NO_DATABASE: Final = 3


class MirrorError(SyncError):
    """The mirror cannot go on."""


class ResyncRequired(Exception):  # noqa: N818 - the mirror goes on
    """The feed can't go on from the cursor, so the mirror needs a new export."""
