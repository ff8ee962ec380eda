"""The interface by which the core checks a caller again; `api.access` implements it."""

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
