"""What the core asks of admission, which `api.access` implements and the core does not import."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection

from api.core.db import Connection


class Admission:
    """Decides whether a caller is let in."""

    async def admit_again(
        self, connection: ASGIConnection[Any, Any, Any, Any], over: Connection | None = None
    ) -> None:
        """Refuse a caller whose key was revoked after the request had begun."""
        raise NotImplementedError
