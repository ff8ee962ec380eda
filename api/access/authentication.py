"""Authentication: find the caller by the key that a request brings, and check its scopes.

The row of a key is trusted for half a second. So a busy client costs two statements a second, and
a revocation takes effect in every process within a second. A text that can't be a key is never
looked up in the database.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.access.audit import Refusals
from api.access.keyring import hashed, identity_of
from api.access.limits import Limits, bucket_of
from api.core.admission import Admission
from api.core.caller import KEYLESS, NOBODY, PUBLIC, READER, Actor, Caller, Need, needed
from api.core.db import Connection, Database
from api.core.errors import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, Problem
from api.core.request import header_values
from api.core.services import service
from api.core.sql import render
from api.core.turns import KEYLESS as KEYLESS_SHARE
from api.core.turns import Account, charge, charging
from api.settings import Settings, reads_are_open
from schemas.vocabularies import Scope

_AUTHORIZATION: Final = b"authorization"
FRESH_SECONDS: Final = 0.5
"""How long the row of a key is trusted: half of the time in which a revocation takes effect."""
MAX_ENTRIES: Final = 10_000

_ROW = """
    SELECT scopes, hash, previous_hash, previous_until, expires_at, revoked_at, last_used_at
    FROM keys WHERE id = :id"""
_USED = """
    UPDATE keys SET last_used_at = date_trunc('hour', clock_timestamp())
    WHERE id = :id
        AND (last_used_at IS NULL OR last_used_at < date_trunc('hour', clock_timestamp()))"""


class Entry(NamedTuple):
    """The row of a key that is not revoked."""

    caller: Caller
    hash: bytes
    previous_hash: bytes | None
    previous_until: dt.datetime | None
    expires_at: dt.datetime | None

    def takes(self, key: str) -> bool:
        """Tell whether a text is this key, and the key works now."""
        now, digest = dt.datetime.now(dt.UTC), hashed(key)
        if self.expires_at is not None and self.expires_at <= now:
            return False
        if hmac.compare_digest(digest, self.hash):
            return True
        if self.previous_hash is None or self.previous_until is None or self.previous_until <= now:
            return False
        return hmac.compare_digest(digest, self.previous_hash)


class Verifier:
    """The keys that a process has read."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any key."""
        self._database = database
        self._clock = clock
        # Each with the time at which its row was read, by the clock.
        self._entries: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        # Keys that do not exist, kept apart: however many of them are tried, valid keys stay known.
        self._unknown: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Entry | None]] = {}
        self._used: OrderedDict[str, dt.datetime] = OrderedDict()

    async def caller_of(
        self, key: str, identity: str, over: Connection | None = None
    ) -> Caller | None:
        """Give the caller of a key; null if the key is not valid.

        `over` is a connection that the request holds already. If the key were read over a second
        one, requests that hold all connections of the pool could wait for each other forever.
        """
        at, entry = self._known(identity)
        if self._clock() - at >= FRESH_SECONDS:
            entry = await (self._read(identity, over) if over else self._read_once(identity))
        if entry is None or not entry.takes(key):
            return None
        if over is None:
            await self._note_use(identity)
        return entry.caller

    async def trusted(self, key: str, identity: str, over: Connection | None) -> Caller | None:
        """Give the caller of a key whose row is still trusted; null if it must be read again."""
        at, entry = self._known(identity)
        if entry is None or self._clock() - at >= FRESH_SECONDS or not entry.takes(key):
            return None
        if over is None:
            await self._note_use(identity)
        return entry.caller

    def may_be_guessed(self, key: str, identity: str) -> bool:
        """Tell whether a key has to be looked up that was not valid the last time."""
        at, entry = self._known(identity)
        if entry is not None and entry.takes(key):
            return False
        return self._clock() - at >= FRESH_SECONDS

    def _known(self, identity: str) -> tuple[float, Entry | None]:
        """Give the row of a key that was read last, and the time of the reading."""
        never = (-math.inf, None)
        return self._entries.get(identity) or self._unknown.get(identity, never)

    def forget(self, identity: str) -> None:
        """Forget a key that this process has changed, so that it is read again."""
        self._entries.pop(identity, None)
        self._unknown.pop(identity, None)

    async def _read_once(self, identity: str) -> Entry | None:
        """Read a key; requests that wait for the same one share the answer."""
        task = self._reading.get(identity)
        if task is None:
            task = asyncio.create_task(self._read(identity))
            self._reading[identity] = task
            task.add_done_callback(lambda _: self._reading.pop(identity, None))
        return await asyncio.shield(task)

    async def _read(self, identity: str, over: Connection | None = None) -> Entry | None:
        at = self._clock()
        with charging(None):
            row = await (over or self._database).fetchrow(*render(_ROW, id=identity))
        entry = None
        if row is not None and row["revoked_at"] is None:
            known = {scope.value: scope for scope in Scope}
            scopes = frozenset(known[name] for name in row["scopes"] if name in known)
            entry = Entry(
                Caller(identity, scopes),
                row["hash"],
                row["previous_hash"],
                row["previous_until"],
                row["expires_at"],
            )
        self.forget(identity)
        _keep(self._unknown if entry is None else self._entries, identity, (at, entry))
        return entry

    async def _note_use(self, identity: str) -> None:
        """Store the hour in which a key was used."""
        hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        if self._used.get(identity) == hour:
            return
        _keep(self._used, identity, hour)
        with suppress(Problem):  # a read-only database can still be read
            await self._database.fetchrow(*render(_USED, id=identity))


def _keep(entries: OrderedDict[str, Any], identity: str, entry: Any) -> None:  # noqa: ANN401
    """Keep an entry, and drop the oldest one if there are too many."""
    entries[identity] = entry
    entries.move_to_end(identity)
    if len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)


class Gate(Admission):
    """The check before every handler: the caller is found, and must have the needed scopes."""

    def __init__(
        self, settings: Settings, verifier: Verifier, refusals: Refusals, limits: Limits
    ) -> None:
        """Let callers without a key read if the settings say so."""
        self._limits = limits
        self._without_key = READER if reads_are_open(settings) else NOBODY
        self._verifier = verifier
        self._refusals = refusals

    async def admit(
        self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        """Put the caller into the request's state, or refuse the request."""
        scope: Any = connection.scope  # one of Litestar's unions
        state = scope["state"]
        need = _need_of(handler, scope["method"])
        charge(None)  # until the caller is known; a connection's requests inherit from each other
        if scope["path"].startswith(KEYLESS):
            state["caller"] = NOBODY  # these answers must not wait for a busy database
            return
        try:
            caller = self._without_key
            if sent := header_values(connection, _AUTHORIZATION):
                caller = await self._caller_for(need, connection, sent)
            state["caller"] = caller
            _check(caller, need)
            if caller.key_id is not None:
                state["actor"] = _actor(scope, caller, need)
        except Problem as problem:
            self._limits.admit(scope)
            self._refusals.note(scope, problem, _scope_of(need))
            raise
        self._limits.admit(scope)
        charge(_account_of(scope, need))

    async def admit_again(
        self, connection: ASGIConnection[Any, Any, Any, Any], over: Connection | None = None
    ) -> None:
        """Refuse a caller whose key was revoked, or has expired, since it was admitted."""
        scope: Any = connection.scope
        sent = header_values(connection, _AUTHORIZATION)
        if await self._caller(connection, sent, over) != scope["state"]["caller"]:
            raise unauthorized("The key is not valid.")

    async def _caller_for(
        self, need: Need | None, connection: ASGIConnection[Any, Any, Any, Any], sent: list[str]
    ) -> Caller:
        """Find the caller; without the database, go on if anybody may call the operation."""
        try:
            return await self._caller(connection, sent)
        except Problem as problem:
            if problem.kind is not UNAVAILABLE or need != Need(PUBLIC):
                raise
            return NOBODY

    async def _caller(
        self,
        connection: ASGIConnection[Any, Any, Any, Any],
        sent: list[str],
        over: Connection | None = None,
    ) -> Caller:
        """Find the caller by the values of `Authorization`."""
        if not sent:
            return self._without_key
        scheme, _, key = sent[0].partition(" ")
        identity = identity_of(key.strip())
        if len(sent) > 1 or scheme.lower() != "bearer" or identity is None:
            raise unauthorized(
                "`Authorization` takes `Bearer` and a key of this service. A key begins with "
                "`clk_` and ends with a checksum."
            )
        caller = await self._look_up(connection.scope, key.strip(), identity, over)
        if caller is None:
            raise unauthorized("The key is not valid.")
        return caller

    async def _look_up(
        self,
        scope: Any,  # noqa: ANN401 - one of Litestar's unions
        key: str,
        identity: str,
        over: Connection | None,
    ) -> Caller | None:
        """Find the caller of a key; the look-ups of invalid keys by an address are limited."""
        if (trusted := await self._verifier.trusted(key, identity, over)) is not None:
            return trusted
        if not self._verifier.may_be_guessed(key, identity):
            return await self._verifier.caller_of(key, identity, over)
        take_back = self._limits.take_guess(scope)
        try:
            caller = await self._verifier.caller_of(key, identity, over)
        except Problem:  # nobody knows whether it is valid
            take_back()
            raise
        if caller is not None:
            take_back()
        return caller


async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Have the gate of the application admit a request, before any handler."""
    await service(connection, Gate).admit(connection, handler)


def _check(caller: Caller, need: Need | None) -> None:
    """Refuse a caller who does not have the scopes that an operation needs."""
    if need is None:
        raise Problem(
            FORBIDDEN,
            "Nobody may call this operation: it does not declare the scopes that it needs.",
        )
    missing = _missing(need, caller)
    if not missing:
        return
    if caller.key_id is None:
        raise unauthorized(_takes(missing))
    raise forbidden(missing)


@lru_cache(maxsize=512)
def _need_of(handler: BaseRouteHandler, method: str) -> Need | None:
    """Read from a handler which scopes a caller needs.

    The cache is larger than the number of handlers, because Litestar 2.25 copies some of them for
    each request.
    """
    return needed(handler.opt, method)


@lru_cache(maxsize=MAX_ENTRIES)
def _missing(need: Need, caller: Caller) -> tuple[Scope, ...]:
    """Name the scopes that a caller lacks; the answer is cached, because it never changes."""
    return need.missing(caller)


def _account_of(scope: Any, need: Need | None) -> Account:  # noqa: ANN401 - as above
    """Give the account from whose share a request takes its connections."""
    line = bucket_of(scope)
    has_key = scope["state"]["caller"].key_id is not None
    reads = scope["method"] == "GET" or (need is not None and bool(need.reads))
    share = line if has_key else KEYLESS_SHARE
    return Account(share, line, writes=not reads, has_key=has_key)


def unauthorized(detail: str) -> Problem:
    """Ask for a key that is valid."""
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def forbidden(missing: Sequence[Scope]) -> Problem:
    """Refuse a key that does not have some scopes."""
    return Problem(FORBIDDEN, _takes(missing))


def _takes(missing: Sequence[Scope]) -> str:
    """Name all missing scopes at once, so that the caller has to ask for a new key only once."""
    *others, last = (f"`{scope}`" for scope in missing)
    if not others:
        return f"This takes a key with the scope {last}."
    return f"This takes a key with the scopes {', '.join(others)} and {last}."


def _scope_of(need: Need | None) -> str | None:
    """Name the scope to log for a call of an operation."""
    if need is None:
        return None
    return need.scopes[0] if need.scopes else (Scope.READ if need.reads else None)


def _actor(scope: Any, caller: Caller, need: Need | None) -> Actor:  # noqa: ANN401 - as above
    """Give the actor that is stored with each change of the caller."""
    route = f"{scope['method']} {scope['path_template']}"
    return Actor(caller.key_id, _scope_of(need), scope["state"]["request_id"], route)
