"""Callers of each kind, for tests of who sees what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.access import keyring
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer, swept

CALLERS: Final[Mapping[str, frozenset[str] | None]] = {
    "nobody": None,
    "reader": frozenset({"read"}),
    "editor": frozenset({"drafts:read"}),
    "confidant": frozenset({"read", "confidential:read"}),
    "articles": frozenset({"read", "articles:write"}),
    "claims": frozenset({"read", "claims:write"}),
    "sources": frozenset({"read", "sources:write", "import"}),
    "denials": frozenset({"denials:write"}),
    "auditor": frozenset({"audit:read", "keys", "webhooks"}),
    "everybody": frozenset(scope.value for scope in Scope),
}
"""Callers by name, with their scopes; null is somebody without a key."""

KEYS: Final = {
    name: (keyring.written(f"caller{number:06}", "0" * 30), scopes)
    for number, (name, scopes) in enumerate(CALLERS.items())
    if scopes is not None
}
TRIED: Final = ("everybody", "reader")
"""Those whose keys the plain run tries."""


def readers() -> list[Any]:
    """Give the names of all callers with a key, as the parameters of a test."""
    return swept(KEYS, TRIED)


async def headers_of(name: str, database_url: str) -> dict[str, str]:
    """Give the header of a caller whose key exists in a database from now on."""
    key, scopes = KEYS[name]
    return bearer(await allow(database_url, key, [each for each in Scope if each.value in scopes]))
