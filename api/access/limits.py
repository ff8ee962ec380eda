"""Rate limits: a bucket of tokens for each key, and for each address without a key.

Nothing is awaited between reading a bucket and writing it, so no burst of requests can slip
through. Each process allows its share of the limit.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, Final, NamedTuple

from api.core.caller import KEYLESS
from api.core.errors import RATE_LIMITED, Problem, retry_after
from api.settings import Settings

WINDOW_SECONDS: Final = 60
MAX_BUCKETS: Final = 50_000
"""How many buckets are kept, in about 15 MB; the one unused for longest is dropped first."""


class Standing(NamedTuple):
    """How many requests a caller has left."""

    allowed: bool
    left: int
    reset: int  # seconds until the bucket is full again


class Limits:
    """The buckets of one process, and the limit that they keep."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Compute this process' share of the limit."""
        self.on = settings.rate_per_minute > 0
        self.most = max(1, settings.rate_per_minute // settings.workers)
        self._rate = self.most / WINDOW_SECONDS
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._policy = f'"default";q={self.most};w={WINDOW_SECONDS}'.encode()

    def take(self, name: str) -> Standing:
        """Take a token from a caller's bucket, if it has one."""
        now = self._clock()
        most = self.most
        tokens, at = self._buckets.get(name, (most, now))
        tokens = min(most, tokens + (now - at) * self._rate)
        if allowed := tokens >= 1:
            tokens -= 1
        self._buckets[name] = (tokens, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return Standing(allowed, int(tokens), math.ceil((most - tokens) / self._rate))

    def take_guess(self, scope: Any) -> Callable[[], None]:  # noqa: ANN401 - one of Litestar's unions
        """Count a look-up of a key that may be guessed; give the function that undoes the count.

        Refuse the look-up if the address has looked up too many keys that are not valid. They are
        counted before they are looked up, so that a burst of them can't slip through.
        """
        if not self.on:
            return lambda: None
        name = f"guesses {_address(scope)}"
        if not self.take(name).allowed:
            raise self._refusal()
        return lambda: self._give_back(name)

    def _give_back(self, name: str) -> None:
        tokens, at = self._buckets.get(name, (self.most, self._clock()))
        self._buckets[name] = (min(self.most, tokens + 1), at)

    def arrive(self, scope: Any) -> None:  # noqa: ANN401 - one of Litestar's unions
        """Count a request without a key; one with a key is counted after the check."""
        if not self.on:
            return
        for name, _ in scope["headers"]:
            if name == b"authorization":
                return
        self.admit(scope)

    def admit(self, scope: Any) -> None:  # noqa: ANN401 - as above
        """Count a request for its key or its address, once; refuse it if the bucket is empty."""
        if not self.on:
            return
        standing = self._standing(scope)
        if standing is not None and not standing.allowed:
            raise self._refusal()

    def _refusal(self) -> Problem:
        return Problem(
            RATE_LIMITED,
            f"The limit is {self.most} requests in {WINDOW_SECONDS} s.",
            headers=retry_after(1 / self._rate),
        )

    def _standing(self, scope: Any) -> Standing | None:  # noqa: ANN401 - as above
        """Count a request if it is not counted yet; None if requests like it are not counted."""
        if not self.on or scope["path"].startswith(KEYLESS):
            return None
        state = scope["state"]
        if _STATE not in state:
            state[_STATE] = self.take(bucket_of(scope))
        standing: Standing = state[_STATE]
        return standing

    def headers(self, scope: Any) -> tuple[tuple[bytes, bytes], ...]:  # noqa: ANN401 - as above
        """Give the headers that tell what is left (draft-ietf-httpapi-ratelimit-headers)."""
        if not self.on or (standing := self._standing(scope)) is None:
            return ()
        left = b'"default";r=%d;t=%d' % (standing.left, standing.reset)
        return (b"ratelimit-policy", self._policy), (b"ratelimit", left)


_STATE: Final = "rate"


def bucket_of(scope: Any) -> str:  # noqa: ANN401 - one of Litestar's unions
    """Name the bucket that a request takes from."""
    caller = scope["state"].get("caller")
    if caller is not None and caller.key_id is not None:
        return f"key {caller.key_id}"
    return _address(scope)


def _address(scope: Any) -> str:  # noqa: ANN401 - one of Litestar's unions
    """Give the address, or the network, that requests are counted for."""
    client = scope.get("client")
    return _network(client[0]) if client else ""


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """Give an IPv4 address, or the /64 network of an IPv6 address, which is one host's."""
    if ":" not in address:
        return address
    ipv6 = IPv6Address(address.partition("%")[0])
    return str(ipv6.ipv4_mapped or ipv6.packed[:8].hex())
