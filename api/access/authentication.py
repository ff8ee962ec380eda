"""Who asks: the key that a request brings, and whether that is enough for what it asks.

A key's row is believed for half a second, so that a busy client costs two statements a second and
a revocation holds in every process within one. What can't be a key never reaches the database.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from litestar.connection import ASGIConnection
from litestar.datastructures import Headers
from litestar.handlers import BaseRouteHandler

from api.access.audit import Refusals
from api.access.keyring import hashed, identity_of
from api.access.limits import Limits
from api.core.admission import Admission
from api.core.caller import KEYLESS, NOBODY, PUBLIC, READER, Caller, Need, needed
from api.core.db import Connection, Database
from api.core.errors import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, Problem
from api.settings import Settings, reads_are_open
from schemas.vocabularies import Scope

FRESH_SECONDS: Final = 0.5
"""How long what was read of a key is believed; half of the time within which it may be revoked."""
MAX_ENTRIES: Final = 10_000
_AN_HOUR: Final = dt.timedelta(hours=1)

_ROW = """
    SELECT scopes, hash, previous_hash, previous_until, expires_at, revoked_at, last_used_at
    FROM keys WHERE id = $1"""
_USED = """
    UPDATE keys SET last_used_at = date_trunc('hour', clock_timestamp())
    WHERE id = $1
        AND (last_used_at IS NULL OR last_used_at < date_trunc('hour', clock_timestamp()))"""


class Entry(NamedTuple):
    """What was read of a key."""

    at: float  # when the question was asked, by the monotonic clock
    caller: Caller
    hash: bytes
    previous_hash: bytes | None
    previous_until: dt.datetime | None
    expires_at: dt.datetime | None

    def takes(self, key: str) -> bool:
        """Tell whether this is the key, now."""
        now, digest = dt.datetime.now(dt.UTC), hashed(key)
        if self.expires_at is not None and self.expires_at <= now:
            return False
        if hmac.compare_digest(digest, self.hash):
            return True
        if self.previous_hash is None or self.previous_until is None or self.previous_until <= now:
            return False
        return hmac.compare_digest(digest, self.previous_hash)


class Verifier:
    """The keys that a process knows."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """Know none yet."""
        self._database = database
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Entry | None]] = {}
        self._used: OrderedDict[str, dt.datetime] = OrderedDict()

    async def caller_of(
        self, key: str, identity: str, over: Connection | None = None
    ) -> Caller | None:
        """Give who has a key; null if it is not valid.

        `over` is the connection of one who holds one. Were it asked over a second one, all who hold
        the pool's connections could wait for each other.
        """
        at, entry = self._entries.get(identity, (-FRESH_SECONDS, None))
        if self._clock() - at >= FRESH_SECONDS:
            entry = await (self._read(identity, over) if over else self._read_once(identity))
        if entry is None or not entry.takes(key):
            return None
        if over is None:
            await self._note_use(identity)
        return entry.caller

    def forget(self, identity: str) -> None:
        """Ask anew for a key that was changed here."""
        self._entries.pop(identity, None)

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
        row = await (over or self._database).fetchrow(_ROW, identity)
        entry = None
        if row is not None and row["revoked_at"] is None:
            known = {scope.value: scope for scope in Scope}
            scopes = frozenset(known[name] for name in row["scopes"] if name in known)
            entry = Entry(
                at,
                Caller(identity, scopes),
                row["hash"],
                row["previous_hash"],
                row["previous_until"],
                row["expires_at"],
            )
        _keep(self._entries, identity, (at, entry))
        return entry

    async def _note_use(self, identity: str) -> None:
        """Write down, to the hour, that a key was used."""
        hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        if self._used.get(identity) == hour:
            return
        _keep(self._used, identity, hour)
        with suppress(Problem):  # a database that takes no writes can still be read
            await self._database.fetchrow(_USED, identity)


def _keep(entries: OrderedDict[str, Any], identity: str, entry: Any) -> None:  # noqa: ANN401
    """Remember something, and forget what was kept longest if that is too much."""
    entries[identity] = entry
    entries.move_to_end(identity)
    if len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)


class Gate(Admission):
    """What every request passes before its handler: it has to say who asks, and may ask that."""

    def __init__(
        self, settings: Settings, verifier: Verifier, refusals: Refusals, limits: Limits
    ) -> None:
        """Let people without a key read where the settings say so."""
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
        need = needed(handler.opt, scope["method"])
        if scope["path"].startswith(KEYLESS):
            state["caller"] = NOBODY  # whoever asks; a busy database must not make it wait
            return
        try:
            state["caller"] = caller = await self._caller_for(need, connection.headers)
            _check(caller, need)
            if caller.key_id is not None and scope["method"] != "GET":
                state["actor"] = _actor(scope, caller, need)
        except Problem as problem:
            self._limits.admit(scope)
            self._refusals.note(scope, problem, _scope_of(need))
            raise
        self._limits.admit(scope)

    async def admit_again(
        self, connection: ASGIConnection[Any, Any, Any, Any], over: Connection | None = None
    ) -> None:
        """Refuse somebody who was let in some time ago, and whose key is none any more."""
        scope: Any = connection.scope
        if await self._caller(connection.headers, over) != scope["state"]["caller"]:
            raise unauthorized("The key is not valid.")

    async def _caller_for(self, need: Need | None, headers: Headers) -> Caller:
        """Find out who asks; where anybody may, not knowing that is no reason to fail."""
        try:
            return await self._caller(headers)
        except Problem as problem:
            if problem.kind is not UNAVAILABLE or need != Need(PUBLIC):
                raise
            return NOBODY

    async def _caller(self, headers: Headers, over: Connection | None = None) -> Caller:
        sent = headers.getall("authorization", [])
        if not sent:
            return self._without_key
        scheme, _, key = sent[0].partition(" ")
        identity = identity_of(key.strip())
        if len(sent) > 1 or scheme.lower() != "bearer" or identity is None:
            raise unauthorized(
                "`Authorization` takes `Bearer` and a key of this service, which has the form "
                "`clk_…` and a checksum; this has not."
            )
        caller = await self._verifier.caller_of(key.strip(), identity, over)
        if caller is None:
            raise unauthorized("The key is not valid.")
        return caller


def _check(caller: Caller, need: Need | None) -> None:
    """Refuse a caller who lacks what it takes."""
    if need is None:
        raise Problem(FORBIDDEN, "Nobody may do this: the operation does not say what it takes.")
    missing = need.missing(caller)
    if missing is None:
        return
    if caller.key_id is None:
        raise unauthorized(f"This takes a key with the scope `{missing}`.")
    raise forbidden(missing)


def unauthorized(detail: str) -> Problem:
    """Ask for a key that is valid."""
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def forbidden(scope: Scope) -> Problem:
    """Say which scope the key would need."""
    return Problem(FORBIDDEN, f"This takes a key with the scope `{scope}`.")


def _scope_of(need: Need | None) -> str | None:
    """Name the scope that stands for what an operation takes."""
    if need is None:
        return None
    return need.scopes[0] if need.scopes else (Scope.READ if need.reads else None)


def _actor(scope: Any, caller: Caller, need: Need | None) -> str:  # noqa: ANN401 - as above
    """Write who changes something, and why they may: what migration 0002 takes apart."""
    route = f"{scope['method']} {scope['path_template']}"
    return f"{caller.key_id}\t{_scope_of(need) or ''}\t{scope['state']['request_id']}\t{route}"
