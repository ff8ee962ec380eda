"""Connecting to Postgres: each host of a URL gets its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from inspect import signature
from typing import Any, Final, NamedTuple

import asyncpg
from asyncpg import connect_utils
from asyncpg.connect_utils import SessionAttribute

from api.core.connection import LimitedConnection

HOST_SECONDS: Final = 1.0
"""How long one of several hosts may take to accept a connection, before the next one is tried."""
_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,  # it starts or stops
    asyncpg.TargetServerAttributeNotMatched,
)


class _Host(NamedTuple):
    """A host of a URL, and the port of Postgres there."""

    host: str  # or the path of a socket
    port: int


class Hosts:
    """The hosts of a database URL, which are tried one after another.

    asyncpg gives all hosts together one limit of time, so that one silent host takes it all.
    """

    def __init__(self, url: str) -> None:
        """Start with the order of the URL; :meth:`connect` reads it."""
        self._url = url
        self._order: list[_Host] = []
        self._parameters: Any = None

    async def connect(self, *, timeout: float, **options: Any) -> LimitedConnection:  # noqa: ANN401, ASYNC109
        """Connect to the first host that accepts the connection.

        The options are those of `asyncpg.connect`. The limit holds for all hosts together.
        """
        if not self._order:
            self._order, self._parameters = _read(self._url)
        if len(self._order) == 1:
            return await _connect(self._url, timeout=timeout, **options)
        options["password"] = self._parameters.password
        wanted = self._parameters.target_session_attrs
        async with asyncio.timeout(timeout):
            if wanted is SessionAttribute.prefer_standby:
                with suppress(asyncpg.TargetServerAttributeNotMatched):
                    return await self._first(SessionAttribute.standby, options)
                wanted = SessionAttribute.any
            return await self._first(wanted, options)

    async def _first(
        self, wanted: SessionAttribute, options: Mapping[str, Any]
    ) -> LimitedConnection:
        """Connect to the first host that answers; the next call begins with this host.

        A host that fails becomes the last one, so that the next call begins with another host, even
        if the time for this call has ended.
        """
        failures: list[Exception] = []
        for host in tuple(self._order):
            try:
                connection = await _connect(
                    self._url,
                    **options,
                    **host._asdict(),
                    timeout=HOST_SECONDS,
                    target_session_attrs=wanted,
                )
            except asyncio.CancelledError:
                self._move(host, len(self._order))
                raise
            except _NEXT_HOST as error:
                self._move(host, len(self._order))
                failures.append(error)
            else:
                self._move(host, 0)
                return connection
        raise failures[-1]

    def _move(self, host: _Host, index: int) -> None:
        self._order.remove(host)
        self._order.insert(index, host)


def _read(url: str) -> tuple[list[_Host], Any]:
    """Read the hosts of a URL, and its parameters, as asyncpg reads them.

    asyncpg 0.32 has no public function for it. It also looks at the environment (`PGHOST`).
    """
    read = connect_utils._parse_connect_dsn_and_args  # type: ignore[attr-defined]  # noqa: SLF001
    unset = dict.fromkeys(list(signature(read).parameters)[1:])
    addresses, parameters = read(dsn=url, **unset)
    return [_host(address) for address in addresses], parameters


def _host(address: str | tuple[str, int]) -> _Host:
    if isinstance(address, str):
        return _Host(address, int(address.rpartition(".")[2]))
    return _Host(*address)


async def connect(url: str, **options: Any) -> LimitedConnection:  # noqa: ANN401
    """Connect once, outside of a pool."""
    return await Hosts(url).connect(**{"timeout": 60, **options})


async def _connect(url: str, **options: Any) -> LimitedConnection:  # noqa: ANN401
    options.setdefault("connection_class", LimitedConnection)
    connection: LimitedConnection = await asyncpg.connect(url, **options)
    return connection
