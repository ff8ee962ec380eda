"""The errors because of which a mirror stops, or makes a new copy."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
NO_DATABASE: Final = 3


class MirrorError(Exception):
    """The mirror cannot go on; says why in a sentence, and with which exit code it ends."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class ResyncRequired(Exception):  # noqa: N818 - the mirror goes on
    """The feed can't go on from the cursor, so the mirror needs a new export."""
