"""How an answer is compressed, for who asks for it (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final, Protocol

import zstandard

IDENTITY: Final = "identity"
VARY: Final = {"vary": "Accept-Encoding"}
_GZIP_LEVEL: Final = 3
_CODING = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9a-z-]+)(?:\s*;\s*q=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?\Z"
)


class Encoder(Protocol):
    """What compresses a piece at a time."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a piece; give what is ready so far."""
        ...

    def flush(self) -> bytes:
        """Give the rest."""
        ...


class _Identity:
    """What leaves bytes as they are."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _gzip() -> Encoder:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


def _zstd() -> Encoder:
    return zstandard.ZstdCompressor().compressobj()


ENCODERS: Final = {"zstd": _zstd, "gzip": _gzip, IDENTITY: _Identity}
"""Best first."""


def preferred(accepted: Sequence[str]) -> str:
    """Choose a coding by the values of Accept-Encoding; where none will do, none is applied."""
    weights: dict[str, float] = {}
    for item in ",".join(accepted).lower().split(","):
        if found := _CODING.match(item.strip()):
            weights[found["name"]] = float(found["q"] or 1)
    others = weights.get("*", 0.0)
    weighed = {name: weights.get(name, others) for name in ENCODERS}
    # Not to be mentioned is no offence for what needs no decoding.
    weighed[IDENTITY] = weights.get(IDENTITY, others if "*" in weights else 0.001)
    best = max(weighed, key=lambda name: weighed[name])  # of equals the first
    return best if weighed[best] else IDENTITY


def compressed(content: bytes, coding: str) -> bytes:
    """Compress what is there as a whole."""
    encoder = ENCODERS[coding]()
    return encoder.compress(content) + encoder.flush()


def headers(coding: str) -> dict[str, str]:
    """Say how an answer is compressed, and that others may get it otherwise."""
    return VARY if coding == IDENTITY else {**VARY, "content-encoding": coding}
