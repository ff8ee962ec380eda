"""Connecting to Postgres: each host of a URL gets its own time."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from inspect import signature
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg import connect_utils
from asyncpg.connect_utils import SessionAttribute

from api.core.connection import Check, Host, LimitedConnection
from api.core.silence import works_on

HOST_SECONDS: Final = 1.0
"""How long one of several hosts may take to accept a connection, before the next one is tried."""
CHECK_SECONDS: Final = 5.0
"""After how long, and again after how long, Postgres is asked whether it works on a statement."""
_REACH_SECONDS: Final = 5.0
"""How long this question and its answer may take."""
_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,  # it starts or stops
    asyncpg.TargetServerAttributeNotMatched,
)


class Hosts:
    """The hosts of a database URL, which are tried one after another.

    asyncpg gives all hosts together one limit of time, so that one silent host takes it all.
    """

    def __init__(self, url: str) -> None:
        """Start with the order of the URL, which is read when it is needed."""
        self._url = url
        self._read_order: list[Host] = []
        self._parameters: Any = None
        self._left: Counter[Host] = Counter()  # how often a host was put last

    @property
    def _order(self) -> list[Host]:
        if not self._read_order:
            self._read_order, self._parameters = _read(self._url)
        return self._read_order

    @property
    def several(self) -> bool:
        """Whether there is another host to go to."""
        return len(self._order) > 1

    @property
    def first(self) -> Host:
        """The host that is tried first."""
        return self._order[0]

    def put_last(self, host: Host) -> None:
        """Try all other hosts before this one."""
        self._left[host] += 1
        self._move(host, len(self._order))

    async def connect(self, *, timeout: float, **options: Any) -> LimitedConnection:  # noqa: ANN401, ASYNC109
        """Connect to the first host that accepts the connection.

        The options are those of `asyncpg.connect`. The limit holds for all hosts together.
        """
        if not self.several:
            return await _connect(self._url, timeout=timeout, **options)
        options["password"] = self._parameters.password
        wanted = _wanted(self._url, self._parameters.target_session_attrs)
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
            left = self._left[host]
            try:
                connection = await _connect(
                    self._url,
                    **options,
                    **host._asdict(),
                    timeout=HOST_SECONDS,
                    target_session_attrs=wanted,
                )
            except asyncio.CancelledError:
                self.put_last(host)
                raise
            except _NEXT_HOST as error:
                self.put_last(host)
                failures.append(error)
            else:
                if left == self._left[host]:  # nobody has left it meanwhile
                    self._move(host, 0)
                connection.host = host
                return connection
        raise failures[-1]

    def _move(self, host: Host, index: int) -> None:
        self._order.remove(host)
        self._order.insert(index, host)


@lru_cache(maxsize=16)
def hosts_of(url: str) -> Hosts:
    """Give the hosts of a URL: one object for a process, so that all know who answered last."""
    return Hosts(url)


def _wanted(url: str, attribute: SessionAttribute) -> SessionAttribute:
    """Want a host that takes writes, where nobody says otherwise; asyncpg would take any."""
    named = "target_session_attrs" in parse_qs(urlsplit(url).query)
    if attribute is SessionAttribute.any and not named and "PGTARGETSESSIONATTRS" not in os.environ:
        return SessionAttribute.read_write
    return attribute


def _read(url: str) -> tuple[list[Host], Any]:
    """Read the hosts of a URL, and its parameters, as asyncpg reads them.

    asyncpg 0.32 has no public function for it. It also looks at the environment (`PGHOST`).
    """
    read = connect_utils._parse_connect_dsn_and_args  # type: ignore[attr-defined]  # noqa: SLF001
    unset = dict.fromkeys(list(signature(read).parameters)[1:])
    addresses, parameters = read(dsn=url, **unset)
    return [_host(address) for address in addresses], parameters


def _host(address: str | tuple[str, int]) -> Host:
    if isinstance(address, str):
        return Host(address, int(address.rpartition(".")[2]))
    return Host(*address)


async def connect(url: str, **options: Any) -> LimitedConnection:  # noqa: ANN401
    """Connect once, outside of a pool.

    The statements have no limit of time, but Postgres is asked now and then whether it works on
    them; only a statement prepared by somebody else, as those of migrations, goes without.
    """
    hosts = hosts_of(url)
    connection = await hosts.connect(**{"timeout": 60, **options})

    async def still_works(pid: int) -> bool:
        return await works_on(lambda: hosts.connect(timeout=_REACH_SECONDS), pid, CHECK_SECONDS)

    connection.limit(None, Check(CHECK_SECONDS, still_works))
    return connection


async def _connect(url: str, **options: Any) -> LimitedConnection:  # noqa: ANN401
    options.setdefault("connection_class", LimitedConnection)
    connection: LimitedConnection = await asyncpg.connect(url, **options)
    return connection
